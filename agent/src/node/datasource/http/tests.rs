use super::*;
use crate::node::testing::{Cloud, Fault, serve};

const QUICK: Timing = Timing {
    pause: Duration::from_millis(1),
    longest_pause: Duration::from_millis(2),
    answer: Duration::from_secs(10),
    ..Timing::CLOUD
};

fn service(address: impl Into<Endpoint>, timing: Timing) -> Service {
    Service::all(&address.into(), &[], timing, clock::now() + timing.look).remove(0)
}

#[test]
fn statuses_mean_what_they_mean() {
    let server = serve(|path| match path {
        "/a" => (200, "hello".into()),
        "/moved" => (302, "location:/a".into()),
        "/round" => (302, "location:/round".into()),
        "/away" => (302, "location:http://198.51.100.1/a".into()),
        "/broken" => (503, String::new()),
        "/no" => (403, String::new()),
        _ => (404, String::new()),
    });
    let service = service(server.address(), QUICK);
    assert_eq!(service.get("/a", &[]).unwrap(), b"hello");
    assert_eq!(service.get("/moved", &[]).unwrap(), b"hello");
    assert!(service.find("/none", &[]).unwrap().is_none());
    assert!(service.get("/none", &[]).unwrap_err().is_absent());
    assert!(matches!(service.get("/away", &[]), Err(HttpError::Redirect { .. })));
    assert!(matches!(service.get("/round", &[]), Err(HttpError::Redirect { .. })));
    let before = server.requests();
    assert_eq!(service.get("/broken", &[]).unwrap_err().status(), Some(503));
    assert_eq!(server.requests() - before, ATTEMPTS as usize, "a busy service is asked again");
    let before = server.requests();
    assert_eq!(service.get("/no", &[]).unwrap_err().status(), Some(403));
    assert_eq!(server.requests() - before, 1, "one that says no is not");
    let url = format!("http://{}/a", server.address());
    assert_eq!(Get::default().get(&url).unwrap().unwrap(), b"hello");
}

#[test]
fn methods_headers_host_and_source_port_arrive() {
    let cloud = Cloud::default()
        .host("metadata.example")
        .low_port()
        .needs("X-Ttl", "300", 400)
        .route("PUT", "/token", "T")
        .needs_nothing()
        .needs("X-Token", "T", 401)
        .get("/data", "d")
        .route("POST", "/health", "");
    let server = cloud.serve();
    let endpoint = Endpoint::from(server.address).named("metadata.example").from_low_port();
    let service = service(endpoint, QUICK);
    assert_eq!(service.ask(Method::Put, "/token", &[("X-Ttl", "300")], b"").unwrap(), b"T");
    assert_eq!(service.get("/data", &[("X-Token", "T")]).unwrap(), b"d");
    service.ask(Method::Post, "/health", &[("X-Token", "T")], b"<ok/>").unwrap();
    assert_eq!(server.bodies("/health"), [b"<ok/>"]);
    assert_eq!(server.complaints(), [""; 0]);
    // The server does insist: without its rules kept, there is no answer.
    assert_eq!(service.get("/data", &[]).unwrap_err().status(), Some(401));
    assert_eq!(service.get("/token", &[("X-Ttl", "300")]).unwrap_err().status(), Some(405));
    let high = Endpoint::from(server.address).named("metadata.example");
    assert_eq!(super::tests::service(high, QUICK).get("/data", &[]).unwrap_err().status(), Some(403));
    assert_eq!(server.complaints().len(), 3);
}

#[test]
fn silence_ends_with_the_budget() {
    let server = Cloud::default().get("/a", "a").broken(None, Fault::Silent).serve();
    let timing = Timing { answer: Duration::from_millis(20), connect: Duration::from_millis(20), ..QUICK };
    let start = clock::now();
    let service = service(server.address, timing);
    assert!(matches!(service.get("/a", &[]), Err(HttpError::Transport { .. })));
    assert!(clock::now() - start < Duration::from_secs(2));
    let late = Service { deadline: start, ..service };
    assert!(matches!(late.get("/a", &[]), Err(HttpError::Late(_))));
    assert_eq!(server.requests().len(), 1);
}

#[test]
fn a_long_answer_is_refused() {
    let server = Cloud::default().get("/long", vec![b'a'; 2 << 20]).get("/fits", vec![b'a'; 1 << 20]).serve();
    let service = service(server.address, QUICK);
    assert!(matches!(service.get("/long", &[]), Err(HttpError::TooLong { .. })));
    assert_eq!(service.get("/fits", &[]).unwrap().len(), 1 << 20);
}

#[test]
fn of_several_addresses_the_one_that_answers_is_taken() {
    let good = Cloud::default().get("/", "here").serve();
    let bad = Cloud::default().serve();
    let silent = Cloud::default().get("/", "").broken(None, Fault::Silent).serve();
    let of = |servers: &[std::net::SocketAddr]| servers.iter().map(|address| service(*address, QUICK)).collect();
    let start = clock::now();
    let (won, body) = first(of(&[silent.address, bad.address, good.address]), Method::Get, "/", &[]).unwrap();
    assert_eq!((won.place, body), (format!("http://{}", good.address), b"here".to_vec()));
    assert!(clock::now() - start < Duration::from_secs(5), "nobody waits for the others");
    let error = first(of(&[bad.address, "127.0.0.1:1".parse().unwrap()]), Method::Get, "/", &[]).unwrap_err();
    assert_eq!(error.status(), Some(404), "a status says more than silence");
    assert!(matches!(first(vec![], Method::Get, "/", &[]), Err(HttpError::NoLink)));
}

#[test]
fn addresses_in_messages_show_no_secrets() {
    assert_eq!(shown("http://user:password@h/a?token=x"), "http://...@h/a?...");
    assert_eq!(shown("http://h/a@b"), "http://h/a@b");
    assert_eq!(shown("nonsense"), "nonsense");
}

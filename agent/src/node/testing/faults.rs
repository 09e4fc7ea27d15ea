//! The same list of faults for every datasource that asks by HTTP.

use std::time::Duration;

use super::{
    Cloud, Fault,
    cloud::{CloudServer, Route},
};
use crate::node::{
    clock,
    datasource::{Endpoint, Outcome, Timing},
    seed::Seed,
};

/// Nothing waits for long, so that the list is through soon.
const QUICK: Timing = Timing {
    connect: Duration::from_secs(5),
    answer: Duration::from_secs(5),
    pause: Duration::from_millis(1),
    longest_pause: Duration::from_millis(2),
    look: Duration::from_secs(20),
};
/// The same for a service that says nothing.
const SILENCE: Timing = Timing {
    connect: Duration::from_millis(200),
    answer: Duration::from_millis(200),
    look: Duration::from_secs(5),
    ..QUICK
};

/// What a look at a service without a fault finds. No rule may have been broken.
pub(crate) fn found(cloud: &Cloud, look: impl Fn(Endpoint, Timing) -> Outcome) -> Seed {
    let (outcome, server) = ask(cloud, QUICK, &look);
    assert_eq!(server.complaints(), [""; 0]);
    match outcome {
        Outcome::Found(seed) => *seed,
        other => panic!("{other:?} after {:?}", server.requests()),
    }
}

fn ask(cloud: &Cloud, timing: Timing, look: &dyn Fn(Endpoint, Timing) -> Outcome) -> (Outcome, CloudServer) {
    let server = cloud.serve();
    (look(server.address.into(), timing), server)
}

/// Breaks a service in every way, route by route and as a whole, and looks each time. What must hold:
/// - A service that is busy once, for the whole or for a part, gives the same seed.
/// - One that is down, silent, busy for ever or cut off, as a whole or in part, gives none: a node that starts with half
///   of its user-data is worse than one that waits. Only what the cloud's description calls auxiliary may be lacking.
/// - What says 404 is absent, where that may be.
/// - Nothing at all, or garbage everywhere, is no seed.
/// - Every look ends in its time, and no message shows a secret.
pub(crate) fn survives(cloud: &Cloud, look: impl Fn(Endpoint, Timing) -> Outcome) {
    let healthy = found(cloud, &look);
    let broken = |route: Option<&Route>, fault| {
        let name = route.map_or("everything".into(), |route| route.path.clone());
        let cloud = cloud.broken(route.map(|route| route.path.as_str()), fault);
        let timing = if fault == Fault::Silent { SILENCE } else { QUICK };
        let start = clock::now();
        let (outcome, server) = ask(&cloud, timing, &look);
        let took = clock::now() - start;
        assert!(took < timing.look + Duration::from_secs(5), "{name} {fault:?}: {took:?}");
        if let Outcome::Nothing(why) | Outcome::Failed(why) | Outcome::Refused(why) = &outcome {
            assert!(!why.is_empty(), "{name} {fault:?}: no reason");
            let shown = cloud.secrets.iter().find(|secret| why.contains(secret.as_str()));
            assert_eq!(shown, None, "{name} {fault:?}: {why}");
        }
        let seed = if let Outcome::Found(seed) = outcome { Some(*seed) } else { None };
        (format!("{name} {fault:?}, asked for {:?}", server.requests()), seed)
    };
    let parts = || cloud.routes.iter().map(Some);
    for route in parts().chain([None]) {
        for status in [429, 503] {
            let (what, seed) = broken(route, Fault::Once(status));
            // Everything busy at once is busy more often than one request may be.
            if route.is_some() {
                assert_eq!(seed.as_ref(), Some(&healthy), "{what}");
            }
        }
        let auxiliary = route.is_some_and(|route| route.auxiliary);
        let down = [Fault::Silent, Fault::CutOff, Fault::NotHttp];
        for fault in down.into_iter().chain([403, 429, 500, 503].map(Fault::Status)) {
            let (what, seed) = broken(route, fault);
            assert_eq!(seed.is_some(), auxiliary, "{what}");
        }
        let (what, seed) = broken(route, Fault::Status(404));
        assert_eq!(seed.is_some(), auxiliary || route.is_some_and(|route| route.absent_ok), "{what}");
        for fault in [Fault::Empty, Fault::Garbage] {
            let (what, seed) = broken(route, fault);
            assert!(route.is_some() || seed.is_none(), "{what}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{
        datasource::{HttpError, Look, Platform, Service},
        net::View,
        seed::Metadata,
    };

    fn cloud() -> Cloud {
        Cloud::default()
            .secret("s3cret")
            .get("/id", "i-1")
            .get("/user-data", "s3cret")
            .absent_ok()
            .get("/tags", "")
            .auxiliary()
    }

    type Answers = Result<(Vec<u8>, Vec<u8>), HttpError>;

    /// A datasource that is nothing but `ask`.
    fn look(ask: fn(&Service) -> Answers) -> impl Fn(Endpoint, Timing) -> Outcome {
        move |endpoint, timing| {
            let (platform, view) = (Platform::default(), View::default());
            let look = Look::new(std::path::Path::new("/nonexistent"), &platform, &view);
            assert!(look.services(&[endpoint]).is_empty(), "there is no address yet");
            let look = Look { online: true, timing, deadline: clock::now() + timing.look, ..look };
            let found = ask(&look.services(&[endpoint])[0]);
            match found.map(|(id, data)| (String::from_utf8(id), data)) {
                Ok((Ok(id), user_data)) if !id.is_empty() => {
                    let metadata = Metadata { instance_id: Some(id), ..Metadata::default() };
                    Outcome::Found(Box::new(Seed { metadata, user_data, ..Seed::default() }))
                }
                Ok(_) => Outcome::Failed("no instance id".into()),
                Err(error) => Outcome::Failed(error.to_string()),
            }
        }
    }

    #[test]
    fn a_careful_datasource_passes() {
        let ask = look(|service| {
            let _ = service.get("/tags", &[]);
            Ok((service.get("/id", &[])?, service.find("/user-data", &[])?.unwrap_or_default()))
        });
        survives(&cloud(), &ask);
        assert_eq!(found(&cloud().without("/user-data"), &ask).user_data, b"");
    }

    #[test]
    #[should_panic(expected = "/user-data Silent")]
    fn one_that_takes_silence_for_absence_does_not() {
        survives(
            &cloud(),
            look(|service| Ok((service.get("/id", &[])?, service.get("/user-data", &[]).unwrap_or_default()))),
        );
    }
}

//! As much of Nomad's HTTP API as the suites ask, with a time limit on every request (a client that has no server lets
//! requests hang).

use std::time::{Duration, Instant};

use serde_json::{Value, json};

/// The header with a token.
const TOKEN: &str = "X-Nomad-Token";

/// The HTTP API of one agent.
#[derive(Debug, Clone)]
pub struct Api {
    base: String,
    agent: ureq::Agent,
    /// The token of all requests; an empty one is none.
    token: String,
}

/// One allocation, as the suites look at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Alloc {
    /// Full id.
    pub id: String,
    /// Name of the node it runs on.
    pub node: String,
    /// `running`, `lost`, ...
    pub client_status: String,
    /// How often its tasks were restarted, all together.
    pub restarts: u64,
}

/// An answer as it came: for suites that look at more than the JSON of a success.
#[derive(Debug, Clone)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// The body, empty when there is none.
    pub body: String,
    /// How long it took.
    pub took: Duration,
    headers: ureq::http::HeaderMap,
}

impl Answer {
    /// A header, empty when there is none.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    /// The body as JSON.
    ///
    /// # Panics
    /// When it is something else.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|why| panic!("{why}: {self:?}"))
    }
}

impl Api {
    /// The API at `address`, for example `127.0.0.1:4646`.
    #[must_use]
    pub fn new(address: impl std::fmt::Display) -> Self {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(Duration::from_secs(15)))
            .http_status_as_error(false)
            .proxy(None)
            // Redirects are answers too.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .build();
        Self { base: format!("http://{address}"), agent: config.new_agent(), token: String::new() }
    }

    /// The same with a token.
    #[must_use]
    pub fn with_token(&self, token: &str) -> Self {
        Self { token: token.to_owned(), ..self.clone() }
    }

    /// Base address, as `nomad -address` takes it.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Asks for a path and parses the JSON answer.
    ///
    /// # Errors
    /// When nobody answers, the status is not 200, or the body is not JSON: as text, for [`crate::wait::until`].
    pub fn get(&self, path: &str) -> Result<Value, String> {
        Self::answer(path, self.agent.get(format!("{}{path}", self.base)).header(TOKEN, &self.token).call())
    }

    /// Sends JSON.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn put(&self, path: &str, body: &Value) -> Result<Value, String> {
        let request = self.agent.put(format!("{}{path}", self.base)).header("content-type", "application/json");
        Self::answer(path, request.header(TOKEN, &self.token).send(body.to_string()))
    }

    /// Sends any request and takes any answer.
    ///
    /// # Errors
    /// When nobody answers in time.
    pub fn send(&self, method: &str, path: &str, body: &str) -> Result<Answer, String> {
        let start = Instant::now();
        let request = ureq::http::Request::builder().method(method).uri(format!("{}{path}", self.base));
        let request = request.header(TOKEN, &self.token);
        let failed = |why: &dyn std::fmt::Display| format!("{method} {path}: {why}");
        let answer = if body.is_empty() {
            self.agent.run(request.body(()).map_err(|why| failed(&why))?)
        } else {
            self.agent.run(request.body(body.to_owned()).map_err(|why| failed(&why))?)
        };
        let mut answer = answer.map_err(|why| failed(&why))?;
        let body = answer.body_mut().read_to_string().map_err(|why| failed(&why))?;
        Ok(Answer { status: answer.status().as_u16(), body, took: start.elapsed(), headers: answer.headers().clone() })
    }

    fn answer(path: &str, answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Result<Value, String> {
        let mut answer = answer.map_err(|why| format!("{path}: {why}"))?;
        let body = answer.body_mut().read_to_string().map_err(|why| format!("{path}: {why}"))?;
        if answer.status() != 200 {
            return Err(format!("{path}: {} {body}", answer.status()));
        }
        serde_json::from_str(&body).map_err(|why| format!("{path}: {why}: {body}"))
    }

    /// Address of the leader.
    ///
    /// # Errors
    /// When there is none.
    pub fn leader(&self) -> Result<String, String> {
        let leader = self.get("/v1/status/leader")?;
        leader.as_str().filter(|l| !l.is_empty()).map(str::to_owned).ok_or_else(|| format!("leader is {leader}"))
    }

    /// Name and status of every server, sorted.
    ///
    /// # Errors
    /// When the agent does not answer.
    pub fn members(&self) -> Result<Vec<(String, String)>, String> {
        let answer = self.get("/v1/agent/members")?;
        let mut members: Vec<_> = list(&answer["Members"]).map(|m| (text(&m["Name"]), text(&m["Status"]))).collect();
        members.sort();
        Ok(members)
    }

    /// Raft peers: name, server id, whether it votes.
    ///
    /// # Errors
    /// When there is no leader.
    pub fn raft_peers(&self) -> Result<Vec<(String, String, bool)>, String> {
        let answer = self.get("/v1/operator/raft/configuration")?;
        let mut peers: Vec<_> = list(&answer["Servers"])
            .map(|s| (text(&s["Node"]), text(&s["ID"]), s["Voter"].as_bool().unwrap_or(false)))
            .collect();
        peers.sort();
        Ok(peers)
    }

    /// Clients: name, id, status, eligibility; sorted by name.
    ///
    /// # Errors
    /// When there is no leader.
    pub fn nodes(&self) -> Result<Vec<(String, String, String, String)>, String> {
        let answer = self.get("/v1/nodes")?;
        let mut nodes: Vec<_> = list(&answer)
            .map(|n| (text(&n["Name"]), text(&n["ID"]), text(&n["Status"]), text(&n["SchedulingEligibility"])))
            .collect();
        nodes.sort();
        Ok(nodes)
    }

    /// Allocations of a job.
    ///
    /// # Errors
    /// When there is no leader.
    pub fn allocs(&self, job: &str) -> Result<Vec<Alloc>, String> {
        let answer = self.get(&format!("/v1/job/{job}/allocations"))?;
        Ok(list(&answer)
            .map(|a| Alloc {
                id: text(&a["ID"]),
                node: text(&a["NodeName"]),
                client_status: text(&a["ClientStatus"]),
                restarts: a["TaskStates"]
                    .as_object()
                    .into_iter()
                    .flatten()
                    .map(|(_, state)| state["Restarts"].as_u64().unwrap_or(0))
                    .sum(),
            })
            .collect())
    }

    /// The allocations of a job that run, sorted by node; an error unless there are `count` of them.
    ///
    /// # Errors
    /// When there are fewer or more; the text tells of all allocations.
    pub fn running(&self, job: &str, count: usize) -> Result<Vec<Alloc>, String> {
        let all = self.allocs(job)?;
        let mut running: Vec<_> = all.iter().filter(|a| a.client_status == "running").cloned().collect();
        running.sort_by(|a, b| a.node.cmp(&b.node));
        if running.len() == count { Ok(running) } else { Err(format!("{} of {count} run: {all:?}", running.len())) }
    }

    /// Registers a job given as JSON (the value of `Job`).
    ///
    /// # Errors
    /// When the servers refuse it.
    pub fn register(&self, job: &Value) -> Result<Value, String> {
        self.put("/v1/jobs", &json!({ "Job": job }))
    }
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

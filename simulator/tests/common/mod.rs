//! A client as plain as can be, so that the tests decide what goes over the wire, and a world to use it on.
#![allow(dead_code, reason = "each test program uses its own part of this")]
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use simulator::{Options, Simulator};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub const ZEROS: &str = "0000000000000000000000000000000000000000";
pub const MOVE: &str = "mutation Move($input: UpdateRefsInput!) { updateRefs(input: $input) { clientMutationId } }";

#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// The connection closed before the promised length.
    pub cut: bool,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

pub struct World {
    pub simulator: Simulator,
}

impl World {
    /// A world where the token `good` may do everything and nothing takes long.
    pub async fn new() -> World {
        let world = World { simulator: simulator::start(Options::default()).await.expect("a free port") };
        for platform in ["render", "netlify", "github"] {
            world.admin("POST", "/tokens", json!({ "platform": platform, "token": "good" })).await;
        }
        world.admin("PUT", "/settings", json!({ "phaseMillis": 10 })).await;
        world
    }

    /// Sends exactly these headers (and those that frame the message).
    pub async fn raw(&self, method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let sending = send(self.simulator.address, method, url, headers, body);
        tokio::time::timeout(Duration::from_secs(20), sending).await.expect("an answer")
    }

    pub async fn call(&self, platform: &str, method: &str, path: &str, body: Value) -> Reply {
        let url = format!("{}{path}", self.simulator.url(platform));
        let text = if body.is_null() { String::new() } else { body.to_string() };
        self.raw(method, &url, &good(), &text).await
    }

    pub async fn get(&self, platform: &str, path: &str) -> Value {
        let reply = self.call(platform, "GET", path, Value::Null).await;
        assert_eq!(reply.status, 200, "GET {platform} {path}: {}", reply.json());
        reply.json()
    }

    /// An admin call that must succeed.
    pub async fn admin(&self, method: &str, path: &str, body: Value) -> Value {
        let reply = self.call("admin", method, path, body).await;
        assert!(reply.status < 300, "{method} admin {path}: {} {}", reply.status, reply.json());
        reply.json()
    }

    pub async fn fault(&self, order: Value) {
        self.admin("POST", "/faults", order).await;
    }

    pub async fn effects(&self) -> Vec<Value> {
        self.admin("GET", "/effects", Value::Null).await.as_array().cloned().unwrap_or_default()
    }

    /// The actions of effects that calls to platforms had.
    pub async fn actions(&self) -> Vec<String> {
        let effects = self.effects().await;
        let ours = effects.iter().filter(|effect| effect["by"] == "api");
        ours.map(|effect| effect["action"].as_str().unwrap_or_default().to_string()).collect()
    }

    /// Asks until the answer is as wanted.
    pub async fn until(&self, platform: &str, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let reply = self.call(platform, "GET", path, Value::Null).await.json();
            if wanted(&reply) {
                return reply;
            }
            assert!(Instant::now() < end, "{platform} {path} never was as wanted: {reply}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// A Render service with a live deploy of commit `c1`.
    pub async fn service(&self) -> Value {
        let order = json!({
            "id": "srv-web", "name": "web", "env": { "A": "1", "DB": "old" }, "requiredEnv": ["DB"],
            "firstDeploy": { "commit": "c1", "message": "one" },
        });
        self.admin("POST", "/render/services", order).await
    }

    pub async fn service_truth(&self) -> Value {
        self.admin("GET", "/render/services/srv-web", Value::Null).await
    }

    /// A Netlify site with a published deploy of commit `c1`.
    pub async fn site(&self) -> Value {
        let order = json!({
            "id": "site-1", "name": "docs", "accountSlug": "acme",
            "env": [
                { "key": "OPEN", "values": [{ "context": "all", "value": "v" }] },
                { "key": "HIDDEN", "isSecret": true, "values": [
                    { "context": "production", "value": "hush" }, { "context": "dev", "value": "seen" }] },
            ],
            "firstDeploy": { "commit": "c1", "message": "one" },
        });
        self.admin("POST", "/netlify/sites", order).await
    }

    pub async fn site_truth(&self) -> Value {
        self.admin("GET", "/netlify/sites/site-1", Value::Null).await
    }

    /// A repository of three commits on `main`.
    pub async fn repo(&self) -> Value {
        let commit = |text: &str| json!({ "message": text, "files": { "src/a.txt": text } });
        let order = json!({ "owner": "acme", "name": "web", "commits": [commit("1"), commit("2"), commit("3")] });
        self.admin("POST", "/github/repos", order).await
    }

    pub async fn refs(&self) -> Value {
        self.admin("GET", "/github/repos/acme/web", Value::Null).await["refs"].clone()
    }

    pub async fn move_refs(&self, repo: &Value, updates: Value) -> Reply {
        let input = json!({ "repositoryId": repo["nodeId"], "refUpdates": updates });
        let body = json!({ "query": MOVE, "variables": { "input": input } });
        self.call("github", "POST", "/graphql", body).await
    }
}

/// The headers of a well-behaved client.
pub fn good() -> [(&'static str, &'static str); 4] {
    [
        ("authorization", "Bearer good"),
        ("accept", "application/json"),
        ("user-agent", "tests"),
        ("content-type", "application/json"),
    ]
}

async fn send(address: std::net::SocketAddr, method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let path = url.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..])).unwrap_or(url);
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let lines: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    let length = body.len();
    let message = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{lines}content-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(message.as_bytes()).await.expect("the request leaves");
    let mut bytes = Vec::new();
    // A connection that breaks ends the answer, as one that closes does.
    let _ = stream.read_to_end(&mut bytes).await;
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> Reply {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").expect("a head");
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_lowercase(), value.to_string()))
        .collect();
    let body = bytes[end + 4..].to_vec();
    let promised = headers.iter().find(|(name, _)| name == "content-length");
    let promised: usize = promised.and_then(|(_, length)| length.parse().ok()).unwrap_or(0);
    Reply { status: status.expect("a status"), headers, cut: body.len() < promised, body }
}

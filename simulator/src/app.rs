//! The deployed applications, seen from outside.
use std::collections::BTreeMap;
use std::sync::Mutex;

use axum::body::{Body, Bytes};
use axum::http::Uri;
use axum::response::Response;
use serde_json::{Value, json};

use crate::locked;
use crate::server::respond;
use crate::wire::{Answer, now};
use crate::world::World;

/// How often each path was asked for.
#[derive(Default)]
pub struct Hits(Mutex<BTreeMap<String, u64>>);

impl Hits {
    fn count(&self, path: &str) {
        *locked(&self.0).entry(path.to_string()).or_default() += 1;
    }

    pub fn all(&self) -> BTreeMap<String, u64> {
        locked(&self.0).clone()
    }

    pub fn clear(&self) {
        locked(&self.0).clear();
    }
}

pub async fn answer(world: &World, address: Uri) -> Response {
    let path = address.path().trim_start_matches("/app").to_string();
    world.hits.count(&path);
    let query: BTreeMap<String, String> =
        form_urlencoded::parse(address.query().unwrap_or_default().as_bytes()).into_owned().collect();
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    match parts.as_slice() {
        ["fixed", status] => respond(fixed(status)),
        ["hang"] => std::future::pending().await,
        ["redirect"] => respond(Answer::empty(302).with("location", query.get("to").map_or("/", String::as_str))),
        ["json"] => respond(Answer::typed(200, "application/json", query.get("body").cloned().unwrap_or_default())),
        ["endless"] => endless(),
        [id, "health"] => respond(health(world, id)),
        _ => respond(Answer::text(404, "no such page\n")),
    }
}

fn fixed(status: &str) -> Answer {
    match status.parse::<u16>() {
        Ok(status) if (200..=599).contains(&status) => {
            Answer::json(status, &json!({ "status": if status < 400 { "ok" } else { "down" } }))
        }
        _ => Answer::text(404, "no such status\n"),
    }
}

fn endless() -> Response {
    let chunk = Bytes::from_static(&[b'.'; 4096]);
    let body = futures::stream::repeat_with(move || Ok::<_, std::io::Error>(chunk.clone()));
    Response::new(Body::from_stream(body))
}

/// Whether the application answers: what it needs is there, and what is deployed is not broken.
fn health(world: &World, id: &str) -> Answer {
    let (settings, at) = (world.settings(), now());
    let on_render = locked(&world.render).missing(id, at, &settings);
    let missing = on_render.or_else(|| locked(&world.netlify).missing(id, at, &settings));
    match missing {
        None => Answer::json(404, &json!({ "status": "unknown" })),
        Some(Health::Up) => Answer::json(200, &json!({ "status": "ok" })),
        Some(Health::Down { missing }) => Answer::json(503, &down(missing)),
    }
}

fn down(missing: usize) -> Value {
    json!({ "status": "down", "missing": missing })
}

pub enum Health {
    Up,
    /// So many of the names it needs are not there; none when the code itself is broken or nothing is live.
    Down {
        missing: usize,
    },
}

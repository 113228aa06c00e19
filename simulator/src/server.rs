//! HTTP in and out, and the faults in between.
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use futures::StreamExt;
use tokio::net::TcpListener;

use crate::faults::Kind;
use crate::wire::{Answer, Call, Platform, Twist, now};
use crate::world::World;
use crate::{admin, app, locked};

const BODY_LIMIT: usize = 8 * 1024 * 1024;

pub async fn serve(listener: TcpListener, world: Arc<World>) {
    let router = Router::new().fallback(route).with_state(world);
    // The task is aborted to stop; an accept loop that fails has nothing left to serve.
    let _ = axum::serve(listener, router).await;
}

async fn route(State(world): State<Arc<World>>, request: Request) -> Response {
    let path = request.uri().path().to_string();
    let platform = Platform::ALL.into_iter().find(|platform| {
        path.strip_prefix(platform.prefix()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    });
    match platform {
        Some(platform) => play(&world, read(&world, platform, request).await).await,
        None if path.starts_with("/admin/") => {
            let call = read(&world, Platform::Render, request).await;
            respond(admin::answer(world, call).await)
        }
        None if path.starts_with("/app/") => app::answer(&world, request.uri().clone()).await,
        None => respond(Answer::text(404, "nothing is played here\n")),
    }
}

async fn read(world: &World, platform: Platform, request: Request) -> Call {
    let (parts, body) = request.into_parts();
    let headers = parts
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    let query = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes());
    let path = parts.uri.path();
    Call {
        id: world.ids.request(),
        platform,
        method: parts.method.as_str().to_string(),
        path: path.strip_prefix(platform.prefix()).unwrap_or(path).to_string(),
        query: query.map(|(key, value)| (key.into_owned(), value.into_owned())).collect(),
        headers: headers.collect(),
        // A body that cannot be read to its end comes from a client that is gone.
        body: axum::body::to_bytes(body, BODY_LIMIT).await.unwrap_or_default().to_vec(),
        now: now(),
        twist: Twist::default(),
    }
}

/// Does what the call asks. On a thread of its own: repositories are worked on by child processes.
async fn perform(world: &Arc<World>, call: &Call) -> Answer {
    let (inner, copy) = (world.clone(), call.clone());
    let done = tokio::task::spawn_blocking(move || inner.answer(&copy)).await;
    done.unwrap_or_else(|fault| world.refusal(call.platform, 500, &format!("the simulator failed: {fault}")))
}

async fn play(world: &Arc<World>, mut call: Call) -> Response {
    let Some((kind, since)) = world.faults.pick(&call) else {
        let answer = perform(world, &call).await;
        world.ledger.exchange(&call, Some(&answer), None);
        return respond(answer);
    };
    match kind {
        Kind::Ignored {} => call.twist.dry = true,
        Kind::RepeatPage {} => call.twist.repeat_page = true,
        Kind::HideNewDeploys {} => call.twist.hide_after = Some(since),
        _ => {}
    }
    let name = kind.name();
    let Some(answer) = bend(world, &call, &kind).await else {
        world.ledger.exchange(&call, None, Some(name));
        return std::future::pending().await;
    };
    world.ledger.exchange(&call, Some(&answer), Some(name));
    match kind {
        Kind::Slow { millis } => tokio::time::sleep(Duration::from_millis(millis)).await,
        Kind::Truncate { bytes } => return cut(&answer, bytes),
        _ => {}
    }
    respond(answer)
}

/// The answer under this fault; none for silence.
async fn bend(world: &Arc<World>, call: &Call, kind: &Kind) -> Option<Answer> {
    Some(match kind {
        Kind::Status { code, body, headers } => {
            let base = match body {
                Some(body) => Answer::json(*code, body),
                None => world.refusal(call.platform, *code, "the simulator was told to fail"),
            };
            headers.iter().fold(base, |answer, (name, value)| answer.with(&name.to_lowercase(), value))
        }
        Kind::AfterEffect { code } => {
            perform(world, call).await;
            world.refusal(call.platform, *code, "the answer was lost after the effect")
        }
        Kind::Hang {} => return None,
        Kind::HangAfterEffect {} => {
            perform(world, call).await;
            return None;
        }
        Kind::Late { millis, code } => {
            let (world, call, wait) = (world.clone(), call.clone(), Duration::from_millis(*millis));
            let answer = world.refusal(call.platform, *code, "accepted by nobody, done later all the same");
            tokio::spawn(async move {
                tokio::time::sleep(wait).await;
                perform(&world, &Call { now: now(), ..call }).await;
            });
            answer
        }
        Kind::Html { code } => Answer::typed(*code, "text/html; charset=utf-8", html()),
        Kind::RateLimited { retry_after } => rate_limited(world, call, retry_after.as_deref()),
        Kind::RevertAfter { millis } => {
            let before = (locked(&world.render).clone(), locked(&world.netlify).clone());
            let flags = locked(&world.feature_flags).clone();
            let answer = perform(world, call).await;
            let (world, wait) = (world.clone(), Duration::from_millis(*millis));
            tokio::spawn(async move {
                tokio::time::sleep(wait).await;
                locked(&world.render).restore_settings(&before.0);
                locked(&world.netlify).restore_settings(&before.1);
                *locked(&world.feature_flags) = flags;
            });
            answer
        }
        Kind::Truncate { .. }
        | Kind::HideNewDeploys {}
        | Kind::RepeatPage {}
        | Kind::Ignored {}
        | Kind::Slow { .. } => perform(world, call).await,
    })
}

fn html() -> String {
    "<!doctype html><html><head><title>One moment</title></head><body>Checking your browser</body></html>".into()
}

/// The platform's own way of saying that the allowance is used up.
fn rate_limited(world: &World, call: &Call, retry_after: Option<&str>) -> Answer {
    let reset = call.now.as_second() + 1;
    let answer = match call.platform {
        Platform::Render => world.refusal(call.platform, 429, "rate limit exceeded").with("ratelimit-remaining", 0),
        Platform::Netlify => world
            .refusal(call.platform, 429, "API rate limit exceeded")
            .with("x-ratelimit-remaining", 0)
            .with("x-ratelimit-reset", reset),
        Platform::Github => crate::github::secondary_limit(),
        Platform::FeatureFlags | Platform::Hooks => world.refusal(call.platform, 429, "too many requests"),
    };
    match retry_after {
        Some(wait) => answer.with("retry-after", wait),
        None => answer,
    }
}

/// Promises the whole length and breaks off after `bytes`.
fn cut(answer: &Answer, bytes: usize) -> Response {
    let promised = answer.body.len().max(bytes + 1);
    let head = Bytes::copy_from_slice(&answer.body[..bytes.min(answer.body.len())]);
    let parts = [Ok(head), Err(std::io::Error::other("cut"))];
    // The pause lets the first part leave before the connection breaks.
    let body = futures::stream::iter(parts).then(|part| async {
        tokio::task::yield_now().await;
        part
    });
    let mut response = build(answer, Body::from_stream(body));
    response.headers_mut().insert("content-length", promised.into());
    response
}

pub fn respond(answer: Answer) -> Response {
    let body = Body::from(answer.body.clone());
    build(&answer, body)
}

fn build(answer: &Answer, body: Body) -> Response {
    let head = Response::builder().status(answer.status);
    let head = answer.headers.iter().fold(head, |head, (name, value)| head.header(name, value));
    head.body(body).unwrap_or_else(|fault| {
        let mut response = Response::new(Body::from(format!("an answer that HTTP cannot carry: {fault}")));
        *response.status_mut() = axum::http::StatusCode::INTERNAL_SERVER_ERROR;
        response
    })
}

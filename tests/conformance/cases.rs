//! What holds for every platform.

use crate::scene::{SHARED, Scene, TOKEN, apply, inspect, intent};
use futures::FutureExt;
use reqwest::Method;
use savepoint::api::{Change, EffectClass, PlatformName, SettingChange};
use savepoint::decide::facts::Progress;
use savepoint::platform::{ChangeContext, Connector, Error, ErrorKind, Gateway, GatewayOptions, SendError};
use secrecy::SecretString;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A read that a fault of this kind spoils.
async fn spoiled_read(scene: &Scene, kind: Value) -> Error {
    scene.no_faults().await;
    scene.fault("GET", ".", kind).await;
    scene.hasty_client().observe().await.expect_err("the read is spoiled")
}

#[tokio::test]
async fn each_answer_to_a_read_has_its_kind() {
    for platform in SHARED {
        let scene = Scene::of(platform).await;
        let kinds = [
            (json!({ "status": { "code": 400 } }), ErrorKind::Refused),
            (json!({ "status": { "code": 401 } }), ErrorKind::CredentialsRejected),
            (json!({ "status": { "code": 403 } }), ErrorKind::PermissionDenied),
            (json!({ "status": { "code": 404 } }), ErrorKind::NotFound),
            (json!({ "status": { "code": 410 } }), ErrorKind::NotFound),
            (json!({ "status": { "code": 429 } }), ErrorKind::RateLimited),
            (json!({ "status": { "code": 500 } }), ErrorKind::Unavailable),
            (json!({ "status": { "code": 503 } }), ErrorKind::Unavailable),
            (json!({ "status": { "code": 301, "headers": { "location": "/elsewhere" } } }), ErrorKind::Refused),
            (json!({ "status": { "code": 204 } }), ErrorKind::UnexpectedAnswer),
            (json!({ "status": { "code": 200, "body": { "id": null } } }), ErrorKind::UnexpectedAnswer),
            (json!({ "html": { "code": 200 } }), ErrorKind::UnexpectedAnswer),
            (json!({ "truncate": { "bytes": 10 } }), ErrorKind::Unavailable),
            (json!({ "hang": {} }), ErrorKind::Unavailable),
        ];
        for (fault, kind) in kinds {
            let error = spoiled_read(&scene, fault.clone()).await;
            assert_eq!(error.kind, kind, "{platform} {fault}: {error}");
            let again = spoiled_read(&scene, fault.clone()).await;
            assert_eq!(error.message, again.message, "{platform} {fault} reads the same on every try");
        }
    }
}

#[tokio::test]
async fn a_missing_or_renamed_field_is_an_error_and_never_empty() {
    for platform in SHARED {
        let scene = Scene::of(platform).await;
        let odd = json!({ "status": { "code": 200, "body": [{ "thing": { "name": "A" }, "cursor": "x" }] } });
        scene.fault("GET", "env|git/ref|/flags/", odd).await;
        let client = scene.client();
        let read = match client.capabilities().environment {
            true => client.environment().await.map(drop),
            false => client.observe().await.map(drop),
        };
        assert_eq!(read.unwrap_err().kind, ErrorKind::UnexpectedAnswer, "{platform}");
    }
}

#[tokio::test]
async fn html_says_so() {
    for platform in SHARED {
        let error = spoiled_read(&Scene::of(platform).await, json!({ "html": { "code": 200 } })).await;
        assert_eq!(error.message, "answered HTML instead of JSON", "{platform}");
    }
}

#[tokio::test]
async fn a_rejected_credential_is_not_sent_again_and_a_new_one_is() {
    for platform in SHARED {
        let scene = Scene::of(platform).await;
        let gateway = scene.gateway(Duration::from_secs(20));
        let stale = scene.client_of(&gateway, "rnd_revoked");
        let first = stale.observe().await.unwrap_err();
        assert_eq!(first.kind, ErrorKind::CredentialsRejected, "{platform}");
        let sent = scene.exchanges().await.len();
        assert_eq!(stale.observe().await.unwrap_err().kind, ErrorKind::CredentialsRejected, "{platform}");
        assert_eq!(scene.exchanges().await.len(), sent, "{platform}: nothing is sent");
        assert!(scene.client_of(&gateway, TOKEN).observe().await.is_ok(), "{platform}");
        assert!(gateway.snapshot().calls[&(platform, "held")] > 0);
    }
}

#[tokio::test]
async fn what_the_platform_asks_for_holds_for_the_whole_credential() {
    let asks = [
        (Some("3"), [3, 3, 3, 3]),
        (Some("99999999999999"), [900, 900, 900, 900]),
        (Some("Fri, 31 Dec 2100 23:59:59 GMT"), [900, 900, 900, 900]),
        (Some("Mon, 01 Jan 2001 00:00:00 GMT"), [1, 1, 1, 1]),
        // Render says nothing, Netlify says it in a header of its own, GitHub documents a minute, a flag service says nothing.
        (None, [5, 1, 60, 5]),
    ];
    for (index, platform) in SHARED.into_iter().enumerate() {
        let scene = Scene::of(platform).await;
        for (ask, waits) in asks {
            scene.no_faults().await;
            scene.fault("GET", ".", json!({ "rateLimited": { "retryAfter": ask } })).await;
            let gateway = scene.gateway(Duration::from_secs(20));
            let error = scene.client_of(&gateway, TOKEN).observe().await.unwrap_err();
            assert_eq!(error.kind, ErrorKind::RateLimited, "{platform} {ask:?}");
            let wait = error.retry_after.expect("a wait");
            // A moment in whole seconds against a clock in whole seconds may be one off.
            let off = wait.as_secs().abs_diff(waits[index]);
            assert!(off <= u64::from(ask.is_none()), "{platform} {ask:?}: {wait:?}");
            scene.no_faults().await;
            let sent = scene.exchanges().await.len();
            let held = scene.client_of(&gateway, TOKEN).environment().await;
            if let Err(held) = held {
                assert_eq!(held.kind, ErrorKind::RateLimited, "{platform} {ask:?}");
                assert!(held.retry_after.is_some_and(|left| left <= wait));
            }
            assert_eq!(scene.exchanges().await.len(), sent, "{platform} {ask:?}: nothing is sent");
        }
    }
}

#[tokio::test]
async fn a_redirect_takes_the_credential_nowhere() {
    for platform in SHARED {
        let scene = Scene::of(platform).await;
        let trap = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let location = format!("http://{}/", trap.local_addr().unwrap());
        for code in [301, 302, 303, 307, 308] {
            let headers = json!({ "location": location });
            let error = spoiled_read(&scene, json!({ "status": { "code": code, "headers": headers } })).await;
            assert_eq!(error.kind, ErrorKind::Refused, "{platform} {code}");
        }
        let next = json!({ "link": format!("<{location}?page=2>; rel=\"next\"") });
        scene.no_faults().await;
        scene.fault("GET", "env$", json!({ "status": { "code": 200, "body": [], "headers": next } })).await;
        if platform == PlatformName::Netlify {
            let error = scene.client().environment().await.err().expect("the next page is elsewhere");
            assert_eq!(error.kind, ErrorKind::UnexpectedAnswer);
        }
        let caught = trap.accept().now_or_never();
        assert!(caught.is_none(), "{platform}: somebody followed");
    }
}

#[tokio::test]
async fn a_refusal_has_no_effect_and_says_so() {
    for platform in SHARED {
        let scene = Scene::of(platform).await;
        for code in [400, 401, 403, 404, 409, 410, 422, 429] {
            scene.no_faults().await;
            scene.fault(scene.call.0, scene.call.1, json!({ "status": { "code": code } })).await;
            let outcome = scene.apply(&*scene.client()).await;
            assert!(matches!(outcome, Err(SendError::NotApplied(_))), "{platform} {code}: {outcome:?}");
        }
        scene.no_faults().await;
        assert_eq!(scene.effects().await, Vec::<String>::new(), "{platform}");
        assert_eq!(inspect(&*scene.client(), &scene.change, None).await, Progress::NotStarted, "{platform}");
    }
}

#[tokio::test]
async fn an_answer_that_tells_nothing_is_ambiguous_and_the_effect_is_found() {
    let faults = [
        json!({ "afterEffect": { "code": 500 } }),
        json!({ "afterEffect": { "code": 503 } }),
        json!({ "hangAfterEffect": {} }),
        json!({ "truncate": { "bytes": 5 } }),
    ];
    for platform in SHARED {
        for fault in &faults {
            let scene = Scene::of(platform).await;
            scene.fault(scene.call.0, scene.call.1, fault.clone()).await;
            let outcome = scene.apply(&*scene.hasty_client()).await;
            assert!(matches!(outcome, Err(SendError::Ambiguous(_))), "{platform} {fault}: {outcome:?}");
            assert!(!scene.effects().await.is_empty(), "{platform} {fault}");
            let found = scene.settled(None).await;
            // GitHub's move names the commit it went to; the others are found by their marker.
            assert!(matches!(found, Progress::Done { .. }), "{platform} {fault}: {found:?}");
        }
    }
}

#[tokio::test]
async fn an_answer_that_tells_nothing_without_an_effect_leaves_nothing_to_find() {
    let faults = [
        json!({ "status": { "code": 500 } }),
        json!({ "status": { "code": 502 } }),
        json!({ "status": { "code": 408 } }),
        json!({ "status": { "code": 302 } }),
        json!({ "hang": {} }),
        json!({ "html": { "code": 200 } }),
    ];
    for platform in SHARED {
        for fault in &faults {
            let scene = Scene::of(platform).await;
            scene.fault(scene.call.0, scene.call.1, fault.clone()).await;
            let outcome = scene.apply(&*scene.hasty_client()).await;
            assert!(matches!(outcome, Err(SendError::Ambiguous(_))), "{platform} {fault}: {outcome:?}");
            assert_eq!(
                inspect(&*scene.client(), &scene.change, None).await,
                Progress::NotStarted,
                "{platform} {fault}"
            );
        }
    }
}

#[tokio::test]
async fn a_change_is_sent_once_and_read_back() {
    for platform in SHARED {
        let scene = Scene::of(platform).await;
        let outcome = scene.apply(&*scene.client()).await.unwrap_or_else(|error| panic!("{platform}: {error}"));
        let calls = scene.exchanges().await.into_iter().filter(|exchange| exchange.method == scene.call.0).count();
        assert_eq!(calls, 1, "{platform}");
        // Setting a flag makes nothing that has an id.
        assert_eq!(outcome.output.is_some(), platform != PlatformName::FeatureFlags, "{platform}");
        let done = scene.settled(outcome.output.as_deref()).await;
        let Progress::Done { evidence, .. } = &done else { panic!("{platform}: {done:?}") };
        assert!(!evidence.is_empty());
    }
}

#[tokio::test]
async fn no_connection_means_not_sent() {
    for platform in PlatformName::HOSTED {
        let scene = Scene::of(platform).await;
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let base_urls = BTreeMap::from([(platform, format!("http://{free}/").parse().unwrap())]);
        let gateway = Gateway::new(GatewayOptions { base_urls, ..GatewayOptions::default() }).unwrap();
        let outcome = scene.apply(&*scene.client_of(&gateway, TOKEN)).await;
        assert!(
            matches!(&outcome, Err(SendError::NotApplied(error)) if error.kind == ErrorKind::Unavailable),
            "{outcome:?}"
        );
    }
}

#[tokio::test]
async fn a_tls_failure_means_not_sent() {
    // It takes the greeting and hangs up.
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = server.accept().await {
            // Whatever comes is thrown away.
            let _ = connection.read(&mut [0; 64]).await;
        }
    });
    let scene = Scene::of(PlatformName::Render).await;
    let base_urls = BTreeMap::from([(PlatformName::Render, format!("https://{address}/").parse().unwrap())]);
    let gateway = Gateway::new(GatewayOptions { base_urls, ..GatewayOptions::default() }).unwrap();
    let outcome = scene.apply(&*scene.client_of(&gateway, TOKEN)).await;
    assert!(matches!(outcome, Err(SendError::NotApplied(_))), "{outcome:?}");
}

/// A server that answers every call with this, again and again until the client leaves.
async fn server_that_repeats(part: Vec<u8>, pause: Duration) -> std::net::SocketAddr {
    let server = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = server.accept().await {
            let part = part.clone();
            tokio::spawn(async move {
                let _ = connection.read(&mut [0; 4096]).await;
                let head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n[";
                let mut sent = connection.write_all(head).await;
                while sent.is_ok() {
                    sent = connection.write_all(&part).await;
                    tokio::time::sleep(pause).await;
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn a_body_without_end_is_dropped_at_its_cap_and_a_slow_one_at_the_deadline() {
    let blank = vec![b' '; 64 * 1024];
    let cases = [
        (
            blank,
            Duration::ZERO,
            Duration::from_secs(20),
            ErrorKind::UnexpectedAnswer,
            "the answer is larger than 8 MiB",
        ),
        (
            vec![b' '],
            Duration::from_millis(20),
            Duration::from_millis(300),
            ErrorKind::Unavailable,
            "no complete answer within the deadline",
        ),
    ];
    let scene = Scene::of(PlatformName::Render).await;
    for (part, pause, call_deadline, kind, message) in cases {
        let address = server_that_repeats(part, pause).await;
        let base_urls = BTreeMap::from([(PlatformName::Render, format!("http://{address}/").parse().unwrap())]);
        let options = GatewayOptions { base_urls, call_deadline, ..GatewayOptions::default() };
        let client = scene.client_of(&Gateway::new(options).unwrap(), TOKEN);
        let error = client.observe().await.unwrap_err();
        assert_eq!((error.kind, error.message.as_str()), (kind, message));
        let outcome = scene.apply(&*client).await;
        assert!(matches!(outcome, Err(SendError::Ambiguous(_))), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_call_of_another_class_than_its_intent_is_not_sent() {
    for platform in SHARED {
        let scene = Scene::of(platform).await;
        for class in [EffectClass::Read, EffectClass::Destructive, EffectClass::SetToValue, EffectClass::Keyless] {
            if class == scene.class {
                continue;
            }
            let outcome = apply(&*scene.client(), class, &scene.change).await;
            assert!(
                matches!(&outcome, Err(SendError::NotApplied(error)) if error.kind == ErrorKind::NotAllowed),
                "{platform} {class:?}: {outcome:?}"
            );
        }
        assert!(scene.effects().await.is_empty(), "{platform}");
    }
}

#[tokio::test]
async fn what_a_platform_cannot_do_is_not_tried() {
    for platform in SHARED {
        let scene = Scene::of(platform).await;
        let client = scene.client();
        let can = client.capabilities();
        assert_eq!(
            can,
            savepoint::platform::capabilities_of(&scene.component()),
            "{platform}: told without a credential"
        );
        let settings = vec![SettingChange { name: "x".into(), from: "a".into(), to: "b".into() }];
        let (name, commit) = ("refs/savepoint/x".to_string(), "c".to_string());
        let changes = [
            (can.freeze, Change::SetSettings { settings }),
            (can.redeploy, Change::Redeploy { commit: None, live: None, newest: None }),
            (can.move_branch, Change::CreateRef { name, commit }),
            (can.roll_back, Change::RollBackDeploy { deploy: "d".into(), commit: None, live: None, newest: None }),
        ];
        for (possible, change) in changes.into_iter().filter(|(possible, _)| !possible) {
            assert!(!possible);
            let outcome = apply(&*client, EffectClass::SetToValue, &change).await;
            assert!(matches!(outcome, Err(SendError::NotApplied(_))), "{platform} {}", change.verb());
            let values = BTreeMap::new();
            let looked = client.inspect(&change, ChangeContext { values: &values, output: None, data: None }).await;
            assert_eq!(looked.unwrap_err().kind, ErrorKind::NotAllowed, "{platform} {}", change.verb());
        }
        assert!(scene.exchanges().await.is_empty(), "{platform}: nobody is asked");
    }
}

#[tokio::test]
async fn looking_changes_nothing_and_uses_no_method_but_get() {
    for platform in SHARED {
        let scene = Scene::of(platform).await;
        let client = scene.client();
        let observed = client.observe().await.unwrap_or_else(|error| panic!("{platform}: {error}"));
        let shown = match client.capabilities().flags {
            true => !observed.flags.is_empty(),
            false => observed.current.is_some() && observed.newest.is_some(),
        };
        assert!(shown, "{platform}: {observed:?}");
        assert_eq!(observed.settings.is_empty(), !client.capabilities().freeze, "{platform}");
        let environment = client.environment().await.unwrap_or_else(|error| panic!("{platform}: {error}"));
        assert_eq!(environment.is_empty(), !client.capabilities().environment, "{platform}");
        assert_eq!(inspect(&*client, &scene.change, None).await, Progress::NotStarted, "{platform}");
        let methods: BTreeSet<String> = scene.exchanges().await.into_iter().map(|exchange| exchange.method).collect();
        assert_eq!(methods, BTreeSet::from(["GET".to_string()]), "{platform}");
        assert!(scene.effects().await.is_empty(), "{platform}");
    }
}

#[tokio::test]
async fn a_read_only_token_observes_and_is_refused_the_rest() {
    for platform in SHARED {
        let scene = Scene::of(platform).await;
        scene.grant("rnd_reader", "read").await;
        let client = scene.client_of(&scene.gateway(Duration::from_secs(20)), "rnd_reader");
        assert!(client.observe().await.is_ok(), "{platform}");
        let outcome = scene.apply(&*client).await;
        assert!(
            matches!(&outcome, Err(SendError::NotApplied(error)) if error.kind == ErrorKind::PermissionDenied),
            "{platform}: {outcome:?}"
        );
    }
}

#[tokio::test]
async fn no_error_shows_the_token_or_an_address() {
    let echo = format!("token {TOKEN} at https://user:{TOKEN}@internal.example/?k={TOKEN}\n\u{1b}[31m is bad");
    for platform in SHARED {
        let scene = Scene::of(platform).await;
        for code in [400, 401, 403, 404, 409, 422, 429, 500] {
            let body = json!({ "message": echo, "msg": echo });
            for (method, path) in [("GET", "."), scene.call] {
                scene.no_faults().await;
                scene.fault(method, path, json!({ "status": { "code": code, "body": body } })).await;
                let client = scene.client();
                let mut said = Vec::new();
                said.extend(client.observe().await.err().map(|error| format!("{error} {error:?}")));
                said.extend(client.environment().await.err().map(|error| format!("{error} {error:?}")));
                said.extend(scene.apply(&*scene.client()).await.err().map(|error| format!("{error} {error:?}")));
                assert!(!said.is_empty());
                for text in said {
                    for never in ["canary", "internal.example", "://", "\u{1b}", "\n", "127.0.0.1"] {
                        assert!(!text.contains(never), "{platform} {code}: {text}");
                    }
                }
            }
        }
    }
}

#[tokio::test]
async fn a_credential_that_no_header_can_carry_is_a_rejected_one() {
    let scene = Scene::of(PlatformName::Render).await;
    let gateway = scene.gateway(Duration::from_secs(20));
    let client = gateway.connect(&scene.component(), SecretString::from("line\nbreak")).unwrap();
    assert_eq!(client.observe().await.unwrap_err().kind, ErrorKind::CredentialsRejected);
}

#[tokio::test]
async fn an_attempt_without_time_sends_nothing() {
    let scene = Scene::of(PlatformName::Render).await;
    let values = BTreeMap::new();
    let mut stored = intent(scene.class).await.intent().clone();
    stored.deadline_seconds = 0;
    let late = crate::scene::commit_intent(stored).await;
    let outcome =
        scene.client().apply(late, &scene.change, ChangeContext { values: &values, output: None, data: None }).await;
    assert!(matches!(outcome, Err(SendError::NotApplied(_))), "{outcome:?}");
    assert!(scene.effects().await.is_empty());
    let requests = scene.admin(Method::GET, "/requests", Value::Null).await;
    assert_eq!(requests, json!([]));
}

use crate::api::{HttpCheck, Verdict};
use crate::check::Finding;
use crate::check::http::HttpProber;
use crate::egress::Lookup;
use crate::egress::address::AddressPolicy;
use axum::extract::Path;
use axum::http::{HeaderMap as Seen, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Stands in bodies, headers and addresses of what is checked; none of it may come back.
const CANARY: &str = "c4n4ry";

type Requests = Arc<Mutex<Vec<Seen>>>;

/// A server on loopback that keeps the headers of every request.
async fn serve() -> (SocketAddr, Requests) {
    let requests = Requests::default();
    let kept = requests.clone();
    let app = Router::new()
        .route(
            "/ok",
            get(|| async {
                ([("x-state", "up"), ("x-canary", CANARY)], Json(json!({"status": "ok", "canary": CANARY})))
            }),
        )
        .route("/text", get(|| async { CANARY }))
        .route(
            "/status/{code}",
            get(|Path(code): Path<u16>| async move { (StatusCode::from_u16(code).unwrap(), CANARY) }),
        )
        .route(
            "/hops/{left}",
            get(|Path(left): Path<u32>| async move {
                match left {
                    0 => "here".into_response(),
                    left => to(&format!("/hops/{}", left - 1)),
                }
            }),
        )
        .route("/to/{*url}", get(|Path(url): Path<String>| async move { to(&url) }))
        .layer(axum::middleware::from_fn(move |request: axum::extract::Request, next: axum::middleware::Next| {
            kept.lock().unwrap().push(request.headers().clone());
            next.run(request)
        }));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    (address, requests)
}

fn to(location: &str) -> Response {
    (StatusCode::FOUND, [(header::LOCATION, location.to_owned())], CANARY).into_response()
}

/// A server that sends these bytes to whoever connects, and then does as `then` says.
async fn raw(bytes: Vec<u8>, then: fn(TcpStream) -> futures::future::BoxFuture<'static, ()>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let bytes = bytes.clone();
            tokio::spawn(async move {
                let _ = stream.read(&mut [0; 4096]).await;
                let _ = stream.write_all(&bytes).await;
                then(stream).await;
            });
        }
    });
    address
}

fn check(url: impl std::fmt::Display, more: Value) -> HttpCheck {
    let mut spec = json!({"url": url.to_string()});
    spec.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    serde_json::from_value(spec).unwrap()
}

fn loopback() -> HttpProber {
    HttpProber::new(AddressPolicy { allowed: vec!["127.0.0.0/8".parse().unwrap()], api_server: None })
}

async fn probe(check: &HttpCheck) -> Finding {
    loopback().probe(check, &HeaderMap::new(), Duration::from_secs(20)).await
}

#[tokio::test]
async fn says_what_is_wrong_in_its_own_words() {
    let (address, _) = serve().await;
    let at = |path: &str| format!("http://{address}{path}");
    for (check, verdict, words) in [
        (check(at("/ok"), json!({})), Verdict::Pass, "HTTP 200"),
        (check(at("/ok"), json!({"method": "HEAD"})), Verdict::Pass, "HTTP 200"),
        (check(at("/ok"), json!({"expectJson": "body.status == 'ok'"})), Verdict::Pass, "HTTP 200"),
        (check(at("/ok"), json!({"expectJson": "body.status == 'up'"})), Verdict::Breach, "expectJson is not true"),
        (check(at("/text"), json!({"expectJson": "body.status == 'ok'"})), Verdict::Breach, "the body is not JSON"),
        (check(at("/ok"), json!({"expectHeaders": {"X-State": "up"}})), Verdict::Pass, "HTTP 200"),
        (
            check(at("/ok"), json!({"expectHeaders": {"X-Canary": "1"}})),
            Verdict::Breach,
            "header X-Canary has another value",
        ),
        (check(at("/ok"), json!({"expectHeaders": {"X-Other": "1"}})), Verdict::Breach, "header X-Other is missing"),
        (check(at("/status/503"), json!({})), Verdict::Breach, "HTTP 503"),
        (check(at("/status/404"), json!({"expectStatus": [200, 404]})), Verdict::Pass, "HTTP 404"),
        (check(at("/ok"), json!({"maxLatency": "0s"})), Verdict::Breach, "slower than 0s"),
        (check(format!("https://{address}/ok"), json!({})), Verdict::Breach, "no TLS connection could be made"),
    ] {
        let found = probe(&check).await;
        assert_eq!((found.verdict, found.message.as_str()), (verdict, words), "{check:?}");
    }
}

#[tokio::test]
async fn an_app_that_is_down_fails_and_a_lookup_that_fails_does_not() {
    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let found = probe(&check(format!("http://{free}/"), json!({}))).await;
    assert_eq!(found, Finding::breach("the connection was refused"));
    let nobody: Lookup = Arc::new(|_| Box::pin(async { Err(std::io::Error::other(CANARY)) }));
    let hangs: Lookup = Arc::new(|_| Box::pin(std::future::pending()));
    for lookup in [nobody, hangs] {
        let prober = HttpProber::with_lookup(AddressPolicy::default(), lookup);
        let check = check("https://gone.example.com/", json!({}));
        let found = prober.probe(&check, &HeaderMap::new(), Duration::from_millis(400)).await;
        assert_eq!(found.verdict, Verdict::Error, "{found:?}");
        assert!(!found.message.contains(CANARY) && found.message.contains("name"), "{found:?}");
    }
}

#[tokio::test]
async fn follows_three_redirects_and_looks_at_each() {
    let (address, _) = serve().await;
    let at = |path: &str| format!("http://{address}{path}");
    for (path, more, verdict, words) in [
        ("/hops/3", json!({}), Verdict::Pass, "HTTP 200"),
        ("/hops/4", json!({}), Verdict::Breach, "more than 3 redirects"),
        ("/hops/1", json!({"expectStatus": [302]}), Verdict::Pass, "HTTP 302"),
        ("/to/http://10.0.0.1/c4n4ry", json!({}), Verdict::Error, "a private address"),
        ("/to/http://169.254.169.254/latest", json!({}), Verdict::Error, "a link-local address"),
        ("/to/http://[::ffff:127.0.0.1]/", json!({}), Verdict::Error, "an IPv4 address in IPv6 form"),
        ("/to/http://2852039166/", json!({}), Verdict::Error, "a link-local address"),
        ("/to///10.0.0.1/", json!({}), Verdict::Error, "a private address"),
        ("/to/file:///etc/passwd", json!({}), Verdict::Breach, "something other than http"),
        ("/to/gopher://127.0.0.1/", json!({}), Verdict::Breach, "something other than http"),
        ("/to/http://user:c4n4ry@127.0.0.1/", json!({}), Verdict::Breach, "credentials"),
        ("/to/http://[c4n4ry/", json!({}), Verdict::Breach, "no address"),
    ] {
        let found = probe(&check(at(path), more)).await;
        assert_eq!(found.verdict, verdict, "{path}: {found:?}");
        assert!(found.message.contains(words) && !found.message.contains(CANARY), "{path}: {found:?}");
        assert!(!found.message.contains("127.0.0.1") && !found.message.contains("10.0.0"), "{path}: {found:?}");
    }
}

#[tokio::test]
async fn a_secret_header_goes_to_the_address_of_the_check_alone() {
    let ((first, seen_first), (second, seen_second)) = (serve().await, serve().await);
    let headers = HeaderMap::from_iter([("x-api-key".parse().unwrap(), CANARY.parse().unwrap())]);
    // Same scheme, host and port: kept. Another port, and then home again: gone for good.
    for (path, kept) in [
        ("/hops/2".to_owned(), vec![true, true, true]),
        (format!("/to/http://{second}/to/http://{first}/ok"), vec![true, false]),
        (format!("/to/http://localhost:{}/ok", first.port()), vec![true, false]),
    ] {
        seen_first.lock().unwrap().clear();
        seen_second.lock().unwrap().clear();
        let check = check(format!("http://{first}{path}"), json!({}));
        let found = loopback().probe(&check, &headers, Duration::from_secs(20)).await;
        // localhost may also have the address ::1, which is not allowed here: then nothing was sent at all.
        assert!(found.verdict == Verdict::Pass || path.contains("localhost"), "{path}: {found:?}");
        let has = |seen: &Requests| {
            let seen = seen.lock().unwrap();
            seen.iter().map(|headers| headers.contains_key("x-api-key")).collect::<Vec<_>>()
        };
        let at_first = has(&seen_first);
        assert_eq!(at_first, kept[..at_first.len()], "{path}");
        assert!(has(&seen_second).iter().all(|sent| !sent), "{path}");
        assert!(at_first.len() == kept.len() || path.contains("localhost"), "{path}: {at_first:?}");
    }
}

#[tokio::test]
async fn one_bad_answer_of_the_lookup_spoils_all_and_only_pinned_addresses_are_connected_to() {
    let (address, seen) = serve().await;
    let lookups = Arc::new(Mutex::new(Vec::new()));
    let prober = |answers: Vec<Vec<&'static str>>| {
        let (answers, lookups) = (Mutex::new(answers.into_iter()), lookups.clone());
        let lookup: Lookup = Arc::new(move |name| {
            lookups.lock().unwrap().push(name);
            let next = answers.lock().unwrap().next().unwrap_or_default();
            Box::pin(async move { Ok(next.iter().map(|ip| ip.parse::<IpAddr>().unwrap()).collect()) })
        });
        HttpProber::with_lookup(
            AddressPolicy { allowed: vec!["127.0.0.1/32".parse().unwrap()], api_server: None },
            lookup,
        )
    };
    let url = format!("http://rebind.example.com:{}/hops/1", address.port());
    let go = async |prober: HttpProber| {
        prober.probe(&check(&url, json!({})), &HeaderMap::new(), Duration::from_secs(20)).await
    };
    // One lookup per hop, and the very address that it gave.
    assert_eq!(go(prober(vec![vec!["127.0.0.1"], vec!["127.0.0.1"]])).await.verdict, Verdict::Pass);
    assert_eq!(lookups.lock().unwrap().len(), 2);
    assert_eq!(seen.lock().unwrap().len(), 2);
    // The name changes its mind between the hops.
    let found = go(prober(vec![vec!["127.0.0.1"], vec!["10.0.0.1"]])).await;
    assert!(found.verdict == Verdict::Error && found.message.contains("private"), "{found:?}");
    assert_eq!(seen.lock().unwrap().len(), 3);
    // One of several.
    let found = go(prober(vec![vec!["127.0.0.1", "169.254.169.254"]])).await;
    assert!(found.verdict == Verdict::Error && found.message.contains("link-local"), "{found:?}");
    assert_eq!(seen.lock().unwrap().len(), 3, "nothing was sent");
}

#[tokio::test]
async fn without_the_flag_nothing_on_this_machine_is_reached() {
    let (address, seen) = serve().await;
    let prober = HttpProber::new(AddressPolicy::default());
    for host in ["127.0.0.1", "0x7f.1", "2130706433", "[::1]", "[::ffff:127.0.0.1]", "localhost", "0.0.0.0"] {
        let check = check(format!("http://{host}:{}/ok", address.port()), json!({}));
        let found = prober.probe(&check, &HeaderMap::new(), Duration::from_secs(20)).await;
        assert_eq!(found.verdict, Verdict::Error, "{host}: {found:?}");
    }
    assert!(seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn bodies_without_end_are_cut_at_their_decoded_size() {
    let endless = raw(b"HTTP/1.1 200 OK\r\n\r\n".to_vec(), |mut stream| {
        Box::pin(async move { while stream.write_all(&[b' '; 8192]).await.is_ok() {} })
    })
    .await;
    let bomb = gzip_of_zeros(1 << 24);
    let mut answer =
        format!("HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: {}\r\n\r\n", bomb.len()).into_bytes();
    answer.extend(&bomb);
    let bomb = raw(answer, |_| Box::pin(async {})).await;
    for address in [endless, bomb] {
        let with = check(format!("http://{address}/"), json!({"expectJson": "body == 1"}));
        assert_eq!(probe(&with).await, Finding::breach("the body is larger than 64 KiB"));
        // Nobody asked for the body, so it is not read.
        assert_eq!(probe(&check(format!("http://{address}/"), json!({}))).await, Finding::pass("HTTP 200"));
    }
}

#[tokio::test]
async fn an_answer_that_drips_or_breaks_off_is_a_failure_of_the_app() {
    let drip = raw(b"HTTP/1.1 200 OK\r\n".to_vec(), |mut stream| {
        Box::pin(async move {
            while stream.write_all(b"x-a: b\r\n").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        })
    })
    .await;
    let silent = raw(Vec::new(), |stream| {
        Box::pin(async move {
            let _held = stream;
            std::future::pending().await
        })
    })
    .await;
    let short = raw(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"a\":".to_vec(), |_| Box::pin(async {})).await;
    let closed = raw(Vec::new(), |_| Box::pin(async {})).await;
    for (address, words) in [
        (drip, "no complete answer within 1s"),
        (silent, "no complete answer within 1s"),
        (short, "the answer broke off"),
        (closed, "the answer broke off"),
    ] {
        let check = check(format!("http://{address}/"), json!({"expectJson": "body.a == 1"}));
        let found = loopback().probe(&check, &HeaderMap::new(), Duration::from_secs(1)).await;
        assert_eq!(found, Finding::breach(words));
    }
}

/// A gzip stream of so many zero bytes: one literal and then copies of it, 258 bytes in 13 bits.
fn gzip_of_zeros(size: usize) -> Vec<u8> {
    let mut bytes = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    let (mut held, mut count) = (0u32, 0);
    let mut push = |bits: &str, bytes: &mut Vec<u8>| {
        for bit in bits.chars() {
            held |= u32::from(bit == '1') << count;
            count += 1;
            if count == 8 {
                bytes.push(held as u8);
                (held, count) = (0, 0);
            }
        }
    };
    push("110", &mut bytes); // last block, fixed codes
    push("00110000", &mut bytes); // literal 0
    for _ in 0..size / 258 {
        push("1100010100000", &mut bytes); // length 258, distance 1
    }
    push("00000000000000", &mut bytes); // end of block
    bytes.extend((0..8).map(|_| 0)); // checksums that nobody gets to
    bytes
}

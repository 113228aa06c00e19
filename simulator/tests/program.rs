//! The program: one line when it is ready, an end when its input closes, and nothing left behind.
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use serde_json::Value;

#[test]
fn says_where_it_listens_and_ends_with_its_input() {
    let scratch = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_simulator"))
        .env("TMPDIR", scratch.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    lines.read_line(&mut line).unwrap();
    let ready: Value = serde_json::from_str(&line).unwrap();
    let address = ready["address"].as_str().unwrap();
    assert_eq!(ready["urls"]["netlify"], format!("http://{address}/netlify/api/v1"));
    assert_eq!(ready["urls"].as_object().unwrap().len(), 7);
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 1);

    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /render/v1/users HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut reply = String::new();
    stream.read_to_string(&mut reply).unwrap();
    assert!(reply.starts_with("HTTP/1.1 401"), "{reply}");

    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    let mut rest = String::new();
    lines.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "", "one line, no more");
    assert_eq!(std::fs::read_dir(scratch.path()).unwrap().count(), 0, "nothing is left behind");
}

#[tokio::test]
async fn a_dropped_simulator_answers_no_more() {
    let simulator = simulator::start(simulator::Options::default()).await.unwrap();
    let address = simulator.address;
    assert!(tokio::net::TcpStream::connect(address).await.is_ok());
    simulator.shutdown().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

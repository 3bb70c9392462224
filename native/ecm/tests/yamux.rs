//! The program against a server that this project did not write: rust-yamux, with the headers read by
//! the crate ppp.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::future::poll_fn;
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;

use common::v2::config;
use common::{Client, Ecm, status};
use futures::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_util::compat::TokioAsyncReadCompatExt as _;
use yamux::{Config, Connection, Mode, Stream};

/// Listens as ejabberd would; each trunk and each stream is a task.
fn start_server() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    listener.set_nonblocking(true).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve_trunk(socket));
            }
        });
    });
    address
}

async fn serve_trunk(socket: tokio::net::TcpStream) {
    let mut trunk = Connection::new(socket.compat(), Config::default(), Mode::Server);
    while let Some(Ok(stream)) = poll_fn(|cx| trunk.poll_next_inbound(cx)).await {
        tokio::spawn(serve_stream(stream));
    }
}

/// Answers each request with the client's address, the length of its body and its hash; `GET /N` with N
/// bytes.
async fn serve_stream(mut stream: Stream) {
    let mut input = Vec::new();
    let length = loop {
        let mut buffer = [0; 16];
        let read = stream.read(&mut buffer).await.unwrap_or(0);
        if read == 0 {
            return;
        }
        input.extend_from_slice(&buffer[..read]);
        if let Ok(header) = ppp::v2::Header::try_from(&input[..]) {
            break header.len();
        }
    };
    let header = ppp::v2::Header::try_from(&input[..length]).unwrap();
    let ppp::v2::Addresses::IPv4(addresses) = header.addresses else {
        panic!("expected IPv4 addresses, got {header:?}");
    };
    let from = format!("{}:{}", addresses.source_address, addresses.source_port);
    let mut input = input.split_off(length);
    while let Some(head) = read_head(&mut stream, &mut input).await {
        let answer = match head.strip_prefix("GET /") {
            Some(rest) => {
                let size = rest.split(' ').next().unwrap().parse().unwrap();
                pattern(size)
            }
            None => {
                let (length, hash) = read_body(&mut stream, &mut input, &head).await;
                format!("{from} {length} {hash}").into_bytes()
            }
        };
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
            answer.len()
        );
        if stream.write_all(head.as_bytes()).await.is_err()
            || stream.write_all(&answer).await.is_err()
            || stream.flush().await.is_err()
        {
            return;
        }
    }
    let _ = stream.close().await;
}

async fn read_more(stream: &mut Stream, input: &mut Vec<u8>) -> Option<()> {
    let mut buffer = vec![0; 64 * 1024];
    match stream.read(&mut buffer).await {
        Ok(read @ 1..) => {
            input.extend_from_slice(&buffer[..read]);
            Some(())
        }
        _ => None,
    }
}

async fn read_head(stream: &mut Stream, input: &mut Vec<u8>) -> Option<String> {
    loop {
        if let Some(end) = input.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = input.split_off(end + 4);
            let head = std::mem::replace(input, rest);
            return Some(String::from_utf8(head).unwrap());
        }
        read_more(stream, input).await?;
    }
}

async fn read_body(stream: &mut Stream, input: &mut Vec<u8>, head: &str) -> (usize, u64) {
    let line = head
        .lines()
        .find_map(|l| l.strip_prefix("Content-Length: "));
    let length: usize = line.unwrap().parse().unwrap();
    let mut hash = FNV_START;
    let mut left = length;
    loop {
        let here = left.min(input.len());
        hash = fnv(hash, &input[..here]);
        input.drain(..here);
        left -= here;
        if left == 0 {
            return (length, hash);
        }
        read_more(stream, input).await.expect("the body goes on");
    }
}

const FNV_START: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a.
fn fnv(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

fn pattern(size: usize) -> Vec<u8> {
    (0..size).map(|n| (n % 251) as u8).collect()
}

fn start() -> Ecm {
    let address = start_server();
    let mut ecm = Ecm::start_with_config(&config(&address.to_string(), 2, ""));
    for _ in 0..2 {
        ecm.wait_for_log("is up");
    }
    ecm
}

fn post(client: &mut Client, body: &[u8]) -> String {
    let head = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    client.send(&head);
    client.stream.write_all(body).unwrap();
    let from = client.stream.local_addr().unwrap();
    format!("{from} {} {}", body.len(), fnv(FNV_START, body))
}

#[test]
fn bodies_of_any_size_go_both_ways_whole() {
    let ecm = start();
    let mut client = ecm.client();
    for size in [0, 1, 1000, 300_000, 8_000_000] {
        client.send(&format!("GET /{size} HTTP/1.1\r\nHost: a\r\n\r\n"));
        client.expect(&format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {size}\r\n\r\n"
        ));
        let mut got = vec![0; size];
        client.stream.read_exact(&mut got).unwrap();
        assert!(got == pattern(size), "{size} bytes differ");
    }
}

#[test]
fn many_clients_at_once_each_have_their_own_answer_and_address() {
    let ecm = start();
    let address = ecm.address;
    let clients: Vec<_> = (0..40)
        .map(|n| {
            std::thread::spawn(move || {
                let mut client = Client::connect(address);
                for round in 0..5 {
                    let body = vec![n; 1 + usize::from(n) * 1500 * round];
                    let length = body.len();
                    let head =
                        format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
                    client.send(&head);
                    client.stream.write_all(&body).unwrap();
                    let mut start = [0; 17];
                    client.stream.read_exact(&mut start).unwrap();
                    assert_eq!(status(&String::from_utf8_lossy(&start)), 200);
                    let mut answer = Vec::new();
                    let mut byte = [0];
                    while !answer.ends_with(b"\r\n\r\n") {
                        client.stream.read_exact(&mut byte).unwrap();
                        answer.push(byte[0]);
                    }
                    let head = String::from_utf8(answer).unwrap();
                    let line = head
                        .lines()
                        .find_map(|l| l.strip_prefix("Content-Length: "));
                    let mut body = vec![0; line.unwrap().parse().unwrap()];
                    client.stream.read_exact(&mut body).unwrap();
                    let body = String::from_utf8(body).unwrap();
                    let from = client.stream.local_addr().unwrap();
                    assert!(body.starts_with(&format!("{from} {length} ")), "{body}");
                }
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
}

#[test]
fn an_upload_is_hashed_whole() {
    let ecm = start();
    let mut client = ecm.client();
    let body = pattern(5_000_000);
    let expected = post(&mut client, &body);
    client.expect(&common::ok(&expected));
}

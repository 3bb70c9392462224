//! HTTP through the program, from a client's socket to the trunk's far end and back.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod common;

use std::net::Shutdown;

use common::{Ecm, Frame, Peer, get, ok, status};

fn start(more: &str) -> (Ecm, common::Trunk) {
    let peer = Peer::start();
    let mut ecm = Ecm::start(&peer, more);
    let trunk = peer.accept();
    ecm.wait_for_log("is up");
    (ecm, trunk)
}

#[test]
fn a_request_goes_out_as_one_frame_and_its_answer_comes_back_as_it_is() {
    let (ecm, mut trunk) = start("");
    let mut client = ecm.client();
    client.send("POST /bosh HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nbody");
    let (id, request) = trunk.request();
    assert_eq!(
        request,
        "POST /bosh HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\
         X-Forwarded-For: 127.0.0.1\r\n\r\nbody"
    );
    let answer = "HTTP/1.1 200 OK\r\nX-Odd:  spaces  \r\nContent-Length: 3\r\n\r\nyes";
    trunk.send(&id, answer.as_bytes());
    client.expect(answer);
}

#[test]
fn keep_alive_uses_one_connection_and_two_clients_use_two() {
    let (ecm, mut trunk) = start("");
    let mut client = ecm.client();
    client.send(&get("/1"));
    let (first, _) = trunk.request();
    trunk.answer(&first, "1");
    client.expect(&ok("1"));
    client.send(&get("/2"));
    let (second, _) = trunk.request();
    assert_eq!(first, second);
    let mut other = ecm.client();
    other.send(&get("/3"));
    let (third, _) = trunk.request();
    assert_ne!(first, third);
    trunk.answer(&third, "3");
    trunk.answer(&second, "2");
    other.expect(&ok("3"));
    client.expect(&ok("2"));
}

#[test]
fn pipelined_requests_are_one_frame_each_and_their_answers_come_in_order() {
    let (ecm, mut trunk) = start("");
    let mut client = ecm.client();
    client.send(&format!("{}{}", get("/1"), get("/2")));
    let (id, first) = trunk.request();
    let (_, second) = trunk.request();
    assert!(first.starts_with("GET /1 ") && second.starts_with("GET /2 "));
    trunk.send(&id, format!("{}{}", ok("one"), ok("two")).as_bytes());
    client.expect(&format!("{}{}", ok("one"), ok("two")));
}

#[test]
fn pipelining_is_bounded_and_goes_on_as_answers_come() {
    let (ecm, mut trunk) = start("");
    let mut client = ecm.client();
    let body = "x".repeat(20_000);
    let request = format!(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut writer = client.stream.try_clone().unwrap();
    let sender = std::thread::spawn(move || {
        for _ in 0..100 {
            std::io::Write::write_all(&mut writer, request.as_bytes()).unwrap();
        }
    });
    let (id, _) = trunk.request();
    // The one that is due, and those behind it: three are below 64 KiB, a fourth passes it.
    let mut held = 1;
    for _ in 0..4 {
        trunk.request();
        held += 1;
    }
    // Nothing more comes before an answer: what another client sends does.
    let mut other = ecm.client();
    other.send(&get("/other"));
    let (other_id, text) = trunk.request();
    assert!(
        other_id != id && text.starts_with("GET /other "),
        "{held} requests, then {text:?}"
    );
    for _ in 0..100 {
        trunk.answer(&id, "");
        if held < 100 {
            trunk.request();
            held += 1;
        }
    }
    sender.join().unwrap();
    client.expect(&ok("").repeat(100));
}

#[test]
fn a_chunked_request_stays_chunked() {
    let (ecm, mut trunk) = start("");
    let mut client = ecm.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n");
    client.send("2\r\nde\r\n0\r\n\r\n");
    let (_, request) = trunk.request();
    assert!(
        request.ends_with("\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"),
        "{request}"
    );
}

#[test]
fn a_large_body_arrives_whole_in_pieces() {
    let (ecm, mut trunk) = start("");
    let mut client = ecm.client();
    let body: String = (0..300_000_u32)
        .map(|n| char::from(b'a' + (n % 23) as u8))
        .collect();
    let head = format!(
        "PUT /file HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    let sender = {
        let mut writer = client.stream.try_clone().unwrap();
        let request = format!("{head}{body}");
        std::thread::spawn(move || {
            std::io::Write::write_all(&mut writer, request.as_bytes()).unwrap();
        })
    };
    let (id, mut request) = trunk.request();
    let mut frames = 1;
    while request.len() < body.len() {
        request += &trunk.request().1;
        frames += 1;
    }
    assert!(request.ends_with(&body) && frames > 1, "{frames} frames");
    trunk.answer(&id, "stored");
    client.expect(&ok("stored"));
    sender.join().unwrap();
}

#[test]
fn a_large_answer_arrives_whole() {
    let (ecm, mut trunk) = start("");
    let mut client = ecm.client();
    client.send(&get("/"));
    let (id, _) = trunk.request();
    let body: String = (0..5_000_000_u32)
        .map(|n| char::from(b'a' + (n % 23) as u8))
        .collect();
    trunk.answer(&id, &body);
    client.expect(&ok(&body));
}

#[test]
fn frames_keep_to_the_configured_size() {
    let peer = Peer::start();
    let mut ecm = Ecm::start_with_config(&format!(
        "[trunk]\naddress = \"{}\"\nprotocol = \"v1\"\ntrunks = 1\n\
         max_frame_size = \"100 B\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n",
        peer.address
    ));
    let mut trunk = peer.accept();
    ecm.wait_for_log("is up");
    let mut client = ecm.client();
    client.send(&get(&format!("/{}", "a".repeat(150))));
    let mut whole = String::new();
    while !whole.ends_with("\r\n\r\n") {
        let (_, piece) = trunk.request();
        assert!(piece.len() <= 68, "{} bytes", piece.len());
        whole += &piece;
    }
    assert!(whole.starts_with("GET /aaa"));
}

#[test]
fn expect_100_continue_gets_its_head_sent_before_the_body() {
    let (ecm, mut trunk) = start("");
    let mut client = ecm.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nExpect: 100-continue\r\n\r\n");
    let (id, head) = trunk.request();
    assert!(head.contains("Expect: 100-continue"));
    trunk.send(&id, b"HTTP/1.1 100 Continue\r\n\r\n");
    client.expect("HTTP/1.1 100 Continue\r\n\r\n");
    client.send("body");
    assert_eq!(trunk.request().1, "body");
    trunk.answer(&id, "done");
    client.expect(&ok("done"));
}

#[test]
fn after_connection_close_the_client_is_closed_with_its_answer() {
    for request in [
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
    ] {
        let (ecm, mut trunk) = start("");
        let mut client = ecm.client();
        client.send(request);
        let (id, _) = trunk.request();
        trunk.answer(&id, "bye");
        assert_eq!(client.rest(), ok("bye"), "{request}");
        assert_eq!(trunk.closed(), id);
    }
}

#[test]
fn an_answer_that_says_close_closes_the_client() {
    let (ecm, mut trunk) = start("");
    let mut client = ecm.client();
    client.send(&get("/"));
    let (id, _) = trunk.request();
    let answer = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
    trunk.send(&id, answer.as_bytes());
    assert_eq!(client.rest(), answer);
    assert_eq!(trunk.closed(), id);
}

#[test]
fn a_close_from_ejabberd_closes_the_client_after_all_that_came_before() {
    let (ecm, mut trunk) = start("");
    let mut client = ecm.client();
    client.send(&get("/"));
    let (id, _) = trunk.request();
    let body = "x".repeat(3_000_000);
    // Its end is the connection's end.
    trunk.send(&id, format!("HTTP/1.1 200 OK\r\n\r\n{body}").as_bytes());
    trunk.close(&id);
    let answer = client.rest();
    assert_eq!(answer.len(), "HTTP/1.1 200 OK\r\n\r\n".len() + body.len());
    assert_eq!(trunk.closed(), id, "the close is answered");
}

#[test]
fn a_client_that_leaves_closes_its_connection() {
    let (ecm, mut trunk) = start("");
    let mut client = ecm.client();
    client.send(&get("/long-poll"));
    let (id, _) = trunk.request();
    drop(client);
    assert_eq!(trunk.closed(), id);
    // What ejabberd still sends is for nobody, and no error.
    trunk.answer(&id, "late");
    trunk.close(&id);
    let mut next = ecm.client();
    next.send(&get("/"));
    let (next_id, _) = trunk.request();
    assert_ne!(id, next_id, "an id was used again");
}

#[test]
fn a_client_that_asks_nothing_is_nothing_to_ejabberd() {
    let (ecm, mut trunk) = start("");
    drop(ecm.client());
    let mut client = ecm.client();
    client.send(&get("/"));
    assert!(trunk.request().1.starts_with("GET / "));
}

#[test]
fn an_upgrade_makes_the_connection_raw_both_ways() {
    let (ecm, mut trunk) = start("");
    let mut client = ecm.client();
    client.send(
        "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\n\
         Upgrade: websocket\r\n\r\n",
    );
    let (id, request) = trunk.request();
    assert!(request.contains("Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"));
    trunk.send(
        &id,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nfrom server",
    );
    client.expect("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\nfrom server");
    client.send("not HTTP \n\n at all");
    assert_eq!(trunk.request(), (id, "not HTTP \n\n at all".to_owned()));
    trunk.send(&id, b"HTTP/1.1 is not looked for");
    client.expect("HTTP/1.1 is not looked for");
    client.stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(trunk.closed(), id);
}

#[test]
fn an_upgrade_that_is_declined_leaves_http() {
    let (ecm, mut trunk) = start("");
    let mut client = ecm.client();
    client.send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n");
    client.send(&get("/next"));
    let (id, _) = trunk.request();
    trunk.answer(&id, "no");
    client.expect(&ok("no"));
    let (_, next) = trunk.request();
    assert!(
        next.starts_with("GET /next ") && next.contains("X-Forwarded-For"),
        "{next}"
    );
}

#[test]
fn a_client_that_leaves_before_its_upgrade_is_answered_closes_its_connection() {
    let (ecm, mut trunk) = start("");
    let mut client = ecm.client();
    client.send("GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\nearly");
    let (id, _) = trunk.request();
    drop(client);
    assert_eq!(trunk.closed(), id);
}

#[test]
fn bad_requests_are_refused_and_never_reach_ejabberd() {
    let (ecm, mut trunk) = start("");
    for (request, code) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400),
        ("GET / HTTP/1.1\nHost: a\n\n", 400),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
            400,
        ),
        ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    ] {
        let mut client = ecm.client();
        client.send(request);
        let answer = client.rest();
        assert_eq!(status(&answer), code, "{request:?} got {answer}");
        assert!(answer.contains("Connection: close\r\n"), "{answer}");
    }
    ecm.client().send(&get("/good"));
    assert!(trunk.request().1.starts_with("GET /good "));
}

#[test]
fn a_refusal_waits_for_the_answers_before_it() {
    let (ecm, mut trunk) = start("");
    let mut client = ecm.client();
    client.send(&format!(
        "{}GET / HTTP/1.1\r\nno colon\r\n\r\n",
        get("/good")
    ));
    let (id, _) = trunk.request();
    ecm.client().send(&get("/other"));
    trunk.request();
    trunk.answer(&id, "good");
    let answer = client.rest();
    let refusal = answer
        .strip_prefix(&ok("good"))
        .expect("the first answer comes first");
    assert_eq!(status(refusal), 400, "{refusal}");
}

#[test]
fn a_body_that_breaks_off_badly_is_refused_and_its_connection_closed() {
    let (ecm, mut trunk) = start("");
    let mut client = ecm.client();
    client.send("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send(&format!("11000\r\n{}\r\n", "x".repeat(0x11000)));
    let (id, _) = trunk.request();
    client.send("no size\r\n");
    assert_eq!(status(&client.rest()), 400);
    while trunk.next().unwrap() != Frame::Close(id) {}
}

#[test]
fn the_heads_limits_are_those_of_the_configuration() {
    let (ecm, _trunk) = start("[limits]\nmax_head = \"1 KiB\"\nmax_headers = 3\n");
    for request in [
        get(&format!("/{}", "a".repeat(1_024))),
        "GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 2\r\nC: 3\r\n\r\n".to_owned(),
    ] {
        let mut client = ecm.client();
        client.send(&request);
        assert_eq!(status(&client.rest()), 431);
    }
}

#[test]
fn only_trusted_proxies_are_believed() {
    let request = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n";
    let (ecm, mut trunk) = start("");
    let mut client = ecm.client();
    client.send(request);
    assert!(trunk.request().1.contains("X-Forwarded-For: 127.0.0.1\r\n"));
    let peer = Peer::start();
    let mut ecm = Ecm::start_with_config(&format!(
        "trusted_proxies = [\"127.0.0.0/8\"]\n[trunk]\naddress = \"{}\"\nprotocol = \"v1\"\ntrunks = 1\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\n",
        peer.address
    ));
    let mut trunk = peer.accept();
    ecm.wait_for_log("is up");
    let mut client = ecm.client();
    client.send(request);
    let (_, request) = trunk.request();
    assert!(
        request.contains("X-Forwarded-For: 192.0.2.1, 127.0.0.1\r\n"),
        "{request}"
    );
}

#[test]
fn curl_gets_and_posts() {
    let (ecm, trunk) = start("");
    let echo = std::thread::spawn(move || trunk.echo());
    let curl = |arguments: &[&str]| {
        let output = std::process::Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "10"])
            .args(arguments)
            .arg(format!("http://{}/path", ecm.address))
            .output()
            .expect("curl is installed");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(curl(&[]), "GET /path HTTP/1.1");
    assert_eq!(curl(&["--data", "hello"]), "hello");
    assert_eq!(curl(&["--http1.0"]), "GET /path HTTP/1.0");
    drop(ecm);
    echo.join().unwrap();
}

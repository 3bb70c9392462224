//! BOSH over real connections: HTTP on one side, a session's documents on the other.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;

use common::sessions::{Said, Sessions, gone};
use common::v2::{Peer2, Seen, source};
use common::{Client, Ecm, get, status};
use megaphone_trunk::proxy::Transport;

const NS: &str = "xmlns='http://jabber.org/protocol/httpbind' xmlns:xmpp='urn:xmpp:xbosh'";
const EMPTY: &str = "<body xmlns='http://jabber.org/protocol/httpbind'/>";
const OPEN: &str =
    "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' id='i1' from='a.example' version='1.0'/>";
const FEATURES: &str = "<stream:features xmlns:stream='http://etherx.jabber.org/streams'/>";
const CLOSE: &str = "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>";
const ERROR: &str = "<stream:error xmlns:stream='http://etherx.jabber.org/streams'>\
    <conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>";

/// The end of a session whose client is gone, and for which nothing waits.
#[track_caller]
fn expect_client_gone(ejabberd: &mut Sessions, id: u32) {
    assert_eq!(ejabberd.said_to_the_end(id), gone(&[]));
}

#[derive(Debug)]
struct Response {
    head: String,
    body: String,
}

impl Response {
    fn field(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines();
        lines
            .filter_map(|line| line.split_once(": "))
            .find_map(|(other, value)| other.eq_ignore_ascii_case(name).then_some(value))
    }

    fn status(&self) -> u16 {
        common::status(&self.head)
    }

    #[track_caller]
    fn attribute(&self, name: &str) -> String {
        let value = self.body.split(&format!(" {name}='")).nth(1);
        let value = value.unwrap_or_else(|| panic!("no {name} in {}", self.body));
        value.split('\'').next().unwrap().to_owned()
    }
}

/// The next response.
#[track_caller]
fn response(client: &mut Client) -> Response {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match client.stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            other => panic!("{other:?} after {:?}", String::from_utf8_lossy(&head)),
        }
    }
    let mut response = Response {
        head: String::from_utf8(head).unwrap(),
        body: String::new(),
    };
    let length = response.field("Content-Length").unwrap().parse().unwrap();
    let mut body = vec![0; length];
    client.stream.read_exact(&mut body).unwrap();
    response.body = String::from_utf8(body).unwrap();
    response
}

fn post(body: &str) -> String {
    format!(
        "POST /bosh HTTP/1.1\r\nHost: a.example\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn creation(attributes: &str) -> String {
    format!(
        "<body {NS} rid='100' to='a.example' ver='1.6' xmpp:version='1.0' hold='1' wait='60' \
         {attributes}/>"
    )
}

fn start(more: &str) -> (Ecm, Sessions) {
    let (ecm, mut trunks) = Peer2::start().start_ecm(1, more);
    let ejabberd = Sessions::new(trunks.remove(0));
    (ecm, ejabberd)
}

/// A client with a session, its identifier, and the session's stream.
struct Session {
    client: Client,
    sid: String,
    stream: u32,
}

impl Session {
    #[track_caller]
    fn start(ecm: &Ecm, ejabberd: &mut Sessions, attributes: &str) -> Self {
        let mut client = ecm.client();
        client.send(&post(&creation(attributes)));
        let (stream, header, first) = ejabberd.opened();
        assert_eq!(header.alpn.as_deref(), Some(&b"xmpp-framing"[..]));
        assert!(first.starts_with("<open "));
        ejabberd.send(stream, &[OPEN, FEATURES]);
        let sid = response(&mut client).attribute("sid");
        Self {
            client,
            sid,
            stream,
        }
    }

    fn body(&self, rid: u64, attributes: &str, payload: &str) -> String {
        let sid = &self.sid;
        format!("<body {NS} sid='{sid}' rid='{rid}' {attributes}>{payload}</body>")
    }

    fn request(&self, rid: u64, attributes: &str, payload: &str) -> String {
        post(&self.body(rid, attributes, payload))
    }

    fn ask(&mut self, rid: u64, attributes: &str, payload: &str) {
        let request = self.request(rid, attributes, payload);
        self.client.send(&request);
    }

    #[track_caller]
    fn expect(&mut self, body: &str) {
        assert_eq!(response(&mut self.client).body, body);
    }
}

fn message(id: u32) -> String {
    format!("<message xmlns='jabber:client' id='{id}'/>")
}

fn carrying(payload: &str) -> String {
    format!("<body xmlns='http://jabber.org/protocol/httpbind'>{payload}</body>")
}

fn terminated(condition: &str) -> String {
    format!(
        "<body xmlns='http://jabber.org/protocol/httpbind' type='terminate' condition='{condition}'/>"
    )
}

#[test]
fn a_client_logs_in_talks_and_leaves() {
    let (ecm, mut ejabberd) = start("");
    let mut client = ecm.client();
    client.send(&post(&creation("xml:lang='de'")));
    let (stream, header, first) = ejabberd.opened();
    assert_eq!(header.transport, Some(Transport::Bosh));
    assert_eq!(header.authority.as_deref(), Some("a.example"));
    assert_eq!(source(&header), client.stream.local_addr().unwrap());
    assert_eq!(
        first,
        "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='a.example' version='1.0' \
         xml:lang='de'/>"
    );
    ejabberd.send(stream, &[OPEN, FEATURES]);
    let created = response(&mut client);
    assert_eq!(created.status(), 200);
    assert_eq!(
        created.field("Content-Type"),
        Some("text/xml; charset=utf-8")
    );
    assert_eq!(created.field("Access-Control-Allow-Origin"), Some("*"));
    assert_eq!(created.attribute("authid"), "i1");
    assert!(created.body.contains("<stream:features/>"), "{created:?}");
    let mut session = Session {
        client,
        sid: created.attribute("sid"),
        stream,
    };
    session.ask(101, "", "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
    assert_eq!(
        ejabberd.document(stream),
        "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"
    );
    let success = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";
    ejabberd.send(stream, &[success]);
    session.expect(&carrying(success));
    session.ask(102, "xmpp:restart='true'", "<iq id='bind'/>");
    assert!(ejabberd.document(stream).starts_with("<open "));
    assert_eq!(
        ejabberd.document(stream),
        "<iq xmlns='jabber:client' id='bind'/>"
    );
    ejabberd.send(stream, &[OPEN, FEATURES]);
    assert!(
        response(&mut session.client)
            .body
            .contains("<stream:features/>")
    );
    session.ask(103, "type='terminate'", "<presence type='unavailable'/>");
    session.expect("<body xmlns='http://jabber.org/protocol/httpbind' type='terminate'/>");
    assert_eq!(
        ejabberd.document(stream),
        "<presence xmlns='jabber:client' type='unavailable'/>"
    );
    assert_eq!(ejabberd.document(stream), CLOSE);
    assert_eq!(ejabberd.trunk.next_on(stream), Seen::Finished(stream));
}

#[test]
fn a_held_request_is_answered_as_soon_as_there_is_something() {
    let (ecm, mut ejabberd) = start("");
    let mut session = Session::start(&ecm, &mut ejabberd, "");
    for round in 0..20 {
        session.ask(101 + round, "", &message(1));
        assert_eq!(ejabberd.document(session.stream), message(1));
        ejabberd.send(session.stream, &[&message(2), &message(3)]);
        session.expect(&carrying(&(message(2) + &message(3))));
    }
}

#[test]
fn a_pipelined_request_is_read_while_the_one_before_it_is_held() {
    let (ecm, mut ejabberd) = start("");
    let mut session = Session::start(&ecm, &mut ejabberd, "");
    session.ask(101, "", "");
    session.ask(102, "", &message(1));
    assert_eq!(ejabberd.document(session.stream), message(1));
    session.expect(EMPTY);
    ejabberd.send(session.stream, &[&message(2)]);
    session.expect(&carrying(&message(2)));
}

#[test]
fn two_connections_may_bring_requests_in_any_order() {
    let (ecm, mut ejabberd) = start("");
    let mut session = Session::start(&ecm, &mut ejabberd, "");
    let mut other = ecm.client();
    other.send(&session.request(102, "", &message(2)));
    // What follows on the other connection is served: so was what came before.
    other.send("OPTIONS /bosh HTTP/1.1\r\nHost: x\r\n\r\n");
    session.ask(101, "", &message(1));
    assert_eq!(ejabberd.document(session.stream), message(1));
    assert_eq!(ejabberd.document(session.stream), message(2));
    session.expect(EMPTY);
    ejabberd.send(session.stream, &[&message(3)]);
    assert_eq!(response(&mut other).body, carrying(&message(3)));
    assert_eq!(response(&mut other).status(), 200);
}

#[test]
fn a_request_is_repeated_after_its_connection_broke() {
    let (ecm, mut ejabberd) = start("");
    let mut session = Session::start(&ecm, &mut ejabberd, "");
    session.ask(101, "", &message(1));
    assert_eq!(ejabberd.document(session.stream), message(1));
    session.client = ecm.client();
    ejabberd.send(session.stream, &[&message(2)]);
    session.ask(101, "", &message(1));
    session.expect(&carrying(&message(2)));
    // The answer that came is there for as long as it may be missed.
    session.client = ecm.client();
    session.ask(101, "", &message(1));
    session.expect(&carrying(&message(2)));
    session.ask(102, "", &message(3));
    assert_eq!(ejabberd.document(session.stream), message(3));
}

#[test]
fn bodies_may_come_in_chunks_and_in_pieces() {
    let (ecm, mut ejabberd) = start("");
    let mut session = Session::start(&ecm, &mut ejabberd, "");
    let body = session.body(101, "", &message(1));
    let (first, second) = body.split_at(30);
    let chunked = format!(
        "POST /bosh HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n\
         {:x}\r\n{second}\r\n0\r\n\r\n",
        first.len(),
        second.len()
    );
    session.client.send(&chunked);
    assert_eq!(ejabberd.document(session.stream), message(1));
    let request = session.request(102, "", &message(2));
    for byte in request.bytes() {
        session.client.stream.write_all(&[byte]).unwrap();
    }
    assert_eq!(ejabberd.document(session.stream), message(2));
    session.expect(EMPTY);
}

#[test]
fn clients_of_http_1_0_are_served() {
    let (ecm, mut ejabberd) = start("");
    let mut client = ecm.client();
    let old = |body: &str, field: &str| {
        let length = body.len();
        format!("POST /http-bind HTTP/1.0\r\nContent-Length: {length}\r\n{field}\r\n{body}")
    };
    client.send(&old(&creation(""), "Connection: keep-alive\r\n"));
    let (stream, ..) = ejabberd.opened();
    ejabberd.send(stream, &[OPEN, FEATURES]);
    let created = response(&mut client);
    assert_eq!(created.field("Connection"), Some("keep-alive"));
    let sid = created.attribute("sid");
    client.send(&old(
        &format!("<body {NS} sid='{sid}' rid='101' pause='10'/>"),
        "",
    ));
    let last = response(&mut client);
    assert_eq!(
        (last.field("Connection"), last.body.as_str()),
        (Some("close"), EMPTY)
    );
    assert_eq!(client.rest(), "");
}

#[test]
fn browsers_and_their_users_are_told_what_this_is() {
    let (ecm, _ejabberd) = start("");
    let mut client = ecm.client();
    client.send(&get("/bosh"));
    let page = response(&mut client);
    assert_eq!(page.status(), 200);
    assert!(page.body.contains("XMPP over BOSH"));
    assert_eq!(page.field("Content-Type"), Some("text/html; charset=utf-8"));
    client.send("OPTIONS /bosh/ HTTP/1.1\r\nHost: x\r\nOrigin: https://a\r\n\r\n");
    let options = response(&mut client);
    assert_eq!(options.status(), 200);
    for (name, value) in [
        ("Access-Control-Allow-Origin", "*"),
        ("Access-Control-Allow-Methods", "GET, POST, OPTIONS"),
        ("Access-Control-Allow-Headers", "Content-Type"),
        ("Access-Control-Max-Age", "86400"),
    ] {
        assert_eq!(options.field(name), Some(value), "{options:?}");
    }
    for (request, status) in [
        (
            "PUT /bosh HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\nx",
            405,
        ),
        (
            "POST /bosh HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
            400,
        ),
        (
            "POST /bosh HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx",
            415,
        ),
    ] {
        client.send(request);
        let refused = response(&mut client);
        assert_eq!(refused.status(), status, "{refused:?}");
    }
    client.send(
        "POST /bosh HTTP/1.1\r\nHost: x\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx",
    );
    let coded = response(&mut client);
    assert_eq!(
        (coded.status(), coded.field("Accept-Encoding")),
        (415, Some("identity"))
    );
    client.send("HEAD /bosh HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let head = client.rest();
    assert!(
        head.starts_with("HTTP/1.1 200 ") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
}

#[test]
fn scripts_of_other_pages_may_be_kept_out() {
    let (ecm, _ejabberd) = start("[bosh]\norigins = [\"https://a.example\"]\n");
    let mut client = ecm.client();
    let options = |origin: &str| format!("OPTIONS /bosh HTTP/1.1\r\nHost: x\r\n{origin}\r\n");
    client.send(&options("Origin: https://a.example\r\n"));
    let allowed = response(&mut client);
    assert_eq!(
        allowed.field("Access-Control-Allow-Origin"),
        Some("https://a.example")
    );
    assert_eq!(allowed.field("Vary"), Some("Origin"));
    client.send(&options("Origin: https://b.example\r\n"));
    let refused = response(&mut client);
    assert_eq!(
        (
            refused.status(),
            refused.field("Access-Control-Allow-Origin")
        ),
        (403, None)
    );
    client.send(&options(""));
    assert_eq!(response(&mut client).status(), 200);
}

#[test]
fn a_path_is_the_same_however_it_is_written() {
    let (ecm, mut ejabberd) = start("[bosh]\norigins = [\"https://a.example\"]\n");
    let mut client = ecm.client();
    let ask = |path: &str, origin: &str| {
        let body = creation("");
        let length = body.len();
        format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nOrigin: {origin}\r\nContent-Length: {length}\r\n\r\n{body}"
        )
    };
    for path in [
        "/bosh",
        "/bosh/",
        "//bosh",
        "/%62osh",
        "/./bosh",
        "/x/../bosh",
        "/x/%2e%2e/bosh",
        "/%2fbosh%2F",
        "/bosh?x",
        "http://x/bosh",
        "http://x:80//bosh",
    ] {
        client.send(&ask(path, "https://b.example"));
        assert_eq!(response(&mut client).status(), 403, "{path}");
        client.send(&ask(path, "https://a.example"));
        let (stream, ..) = ejabberd.opened();
        ejabberd.send(stream, &[OPEN, FEATURES]);
        assert!(response(&mut client).body.contains(" sid='"), "{path}");
    }
    for path in ["/bosh/x", "/bosh%2fx", "//bosh//x/"] {
        let mut client = ecm.client();
        client.send(&ask(path, "https://a.example"));
        assert_eq!(status(&client.rest()), 404, "{path}");
    }
}

#[test]
fn what_can_not_be_read_is_refused_and_others_are_unharmed() {
    let (ecm, mut ejabberd) = start("[bosh]\nmax_body = \"1 KiB\"\n");
    let mut session = Session::start(&ecm, &mut ejabberd, "");
    session.ask(101, "", "");
    for (body, answer) in [
        ("<body", terminated("bad-request")),
        (
            "<body xmlns='http://jabber.org/protocol/httpbind'/>",
            terminated("bad-request"),
        ),
        ("<!DOCTYPE x><body/>", terminated("bad-request")),
        (
            "<body xmlns='http://jabber.org/protocol/httpbind' rid='1' sid='x'/>",
            terminated("item-not-found"),
        ),
        (
            "<body xmlns='http://jabber.org/protocol/httpbind' rid='1'/>",
            terminated("improper-addressing"),
        ),
    ] {
        let mut client = ecm.client();
        client.send(&post(body));
        let refused = response(&mut client);
        assert_eq!((refused.status(), refused.body), (200, answer), "{body}");
    }
    let mut client = ecm.client();
    client.send("POST /bosh HTTP/1.1\r\nHost: x\r\nContent-Length: 1025\r\n\r\n");
    assert_eq!(response(&mut client).status(), 413);
    assert_eq!(client.rest(), "");
    let mut client = ecm.client();
    let chunk = format!("400\r\n{}\r\n", "x".repeat(0x400));
    client.send("POST /bosh HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send(&chunk);
    client.send(&chunk);
    assert_eq!(response(&mut client).status(), 413);
    ejabberd.send(session.stream, &[&message(1)]);
    session.expect(&carrying(&message(1)));
}

/// A request with a body of so many bytes or more, up to a part of it.
fn large(first_tag: &str, size: usize) -> (String, String) {
    let body = format!("{first_tag}<message>{}</message></body>", "x".repeat(size));
    let chunk = format!("{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    let chunked = "POST /bosh HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
    (post(&body), chunked + &chunk)
}

#[test]
fn a_body_is_large_only_of_a_client_that_has_logged_in() {
    let (ecm, mut ejabberd) = start("");
    let size = 200 * 1024;
    let mut session = Session::start(&ecm, &mut ejabberd, "");
    // Named as if it had logged in.
    let named = [
        "<success xmlns='urn:other'/>",
        "<message xmlns='urn:other'/>",
        "<presence xmlns='urn:other'/>",
        "<iq xmlns='jabber:server'/>",
        // Anybody gets one.
        "<iq xmlns='jabber:client' type='error'/>",
    ];
    session.ask(101, "", "");
    ejabberd.send(session.stream, &named);
    session.expect(&carrying(&named.concat()));
    let known = format!("<body {NS} rid='102' sid='{}'>", session.sid);
    for first_tag in [
        "<body xmlns='http://jabber.org/protocol/httpbind' rid='1' to='a' sid='abc'>",
        &creation("").replace("/>", ">"),
        // It is one of a session that has not logged in.
        &known,
        "<body",
        "",
    ] {
        let (whole, chunked) = large(first_tag, size);
        // Of one that says its length no more is waited for than its first tag.
        for (request, sent) in [(&whole, 20_000), (&chunked, chunked.len())] {
            let mut client = ecm.client();
            client.send(&request[..sent]);
            assert_eq!(response(&mut client).status(), 413, "{first_tag}");
        }
    }
    session.ask(102, "", "");
    ejabberd.send(
        session.stream,
        &["<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"],
    );
    assert!(response(&mut session.client).body.contains("<success "));
    for (rid, chunked) in [(103, false), (104, true)] {
        let first_tag = format!(
            "<?xml version='1.0'?><body {NS} sid='{}' rid='{rid}'>",
            session.sid
        );
        let (whole, in_chunks) = large(&first_tag, size);
        let request = if chunked { in_chunks } else { whole };
        // On a connection that nothing is known of, its first tag in pieces.
        session.client = ecm.client();
        let (first, rest) = request.split_at(request.find(" sid=").unwrap() + 10);
        session.client.send(first);
        session.client.send(rest);
        let document = ejabberd.document(session.stream);
        assert!(document.len() > size && document.starts_with("<message"));
        ejabberd.send(session.stream, &[&message(1)]);
        session.expect(&carrying(&message(1)));
    }
    // The limit of all bodies holds as well.
    let first_tag = format!("<body {NS} sid='{}' rid='105'>", session.sid);
    let (whole, chunked) = large(&first_tag, 2 * 1024 * 1024);
    for request in [whole, chunked] {
        let mut client = ecm.client();
        let _ = client.stream.write_all(request.as_bytes());
        assert_eq!(response(&mut client).status(), 413);
    }
}

#[test]
fn a_wait_that_is_over_is_answered_with_nothing() {
    let (ecm, mut ejabberd) = start("[bosh]\nmax_wait = \"1s\"\n");
    let mut session = Session::start(&ecm, &mut ejabberd, "");
    session.ask(101, "", "");
    session.expect(EMPTY);
}

#[test]
fn requests_for_sessions_of_a_program_that_was_replaced_reach_it() {
    let more = "[limits]\nclose_spread = \"1h\"\n";
    let peer = Peer2::start();
    let (mut old, mut trunks) = peer.start_ecm(1, more);
    let mut ejabberd = Sessions::new(trunks.remove(0));
    let sessions = (0..8).map(|_| Session::start(&old, &mut ejabberd, ""));
    let mut sessions: Vec<_> = sessions.collect();
    let config = common::v2::config(&peer.address.to_string(), 1, more);
    let config = config.replace("127.0.0.1:0", &old.address.to_string());
    let mut new = Ecm::start_with(&["--replaces", &old.id().to_string()], &config);
    let _trunk = peer.accept();
    new.wait_for_log("sessions of the ECM before this one are handed on to it");
    old.wait_for_log("leaving: clients are disconnected");
    let mut served = 0;
    for session in &mut sessions {
        session.client = new.client();
        session.ask(101, "", "");
        ejabberd.send(session.stream, &[&message(1)]);
        let body = response(&mut session.client).body;
        // The first of 64 groups is let go at once.
        assert!(
            body.contains("id='1'") || body.contains("system-shutdown"),
            "{body}"
        );
        served += usize::from(body.contains("id='1'"));
    }
    assert!(served > 0);
    old.signal("TERM");
    assert!(old.wait_for_exit().success());
    // Nobody knows them any more.
    let session = &mut sessions[0];
    for rid in 102.. {
        session.client = new.client();
        session.ask(rid, "", "");
        let answer = response(&mut session.client);
        // As long as the new program does not know of the old one's end, the client has to ask again.
        if answer.status() == 200 {
            assert!(answer.body.contains("item-not-found"), "{}", answer.body);
            break;
        }
    }
}

#[test]
fn a_client_that_does_not_log_in_has_to_go() {
    let (ecm, mut ejabberd) = start("[limits]\nauth_timeout = \"2s\"\n");
    let mut user = Session::start(&ecm, &mut ejabberd, "");
    user.ask(101, "", "");
    let success = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";
    ejabberd.send(user.stream, &[success]);
    user.expect(&carrying(success));
    user.ask(102, "", "");
    let mut stranger = Session::start(&ecm, &mut ejabberd, "");
    stranger.ask(101, "", "");
    stranger.expect(&terminated("policy-violation"));
    ejabberd.send(user.stream, &[&message(1)]);
    user.expect(&carrying(&message(1)));
}

#[test]
fn a_silent_client_is_gone_as_if_its_connection_had_broken() {
    let (ecm, mut ejabberd) = start("[bosh]\nmax_inactivity = \"1s\"\n");
    let mut session = Session::start(&ecm, &mut ejabberd, "");
    // There is no <close/>: with stream management it may resume.
    let stream = session.stream;
    expect_client_gone(&mut ejabberd, stream);
    session.ask(101, "", "");
    session.expect(&terminated("item-not-found"));
}

#[test]
fn what_a_silent_client_never_got_goes_back_in_order() {
    let (ecm, mut ejabberd) = start("[bosh]\nmax_inactivity = \"1s\"\n");
    let mut session = Session::start(&ecm, &mut ejabberd, "");
    let stream = session.stream;
    session.ask(101, "", "");
    ejabberd.send(stream, &[&message(1)]);
    session.expect(&carrying("<message xmlns='jabber:client' id='1'/>"));
    // It has got the first, and asks for no more.
    ejabberd.send(stream, &[&message(2), &message(3)]);
    assert_eq!(ejabberd.given_back(stream), "");
    assert_eq!(ejabberd.given_back(stream), message(2));
    assert_eq!(ejabberd.given_back(stream), message(3));
    // This was on its way.
    ejabberd.send(stream, &[&message(4)]);
    assert_eq!(ejabberd.given_back(stream), message(4));
    ejabberd.send(stream, &[&message(5)]);
    ejabberd.trunk.finish(stream);
    assert_eq!(ejabberd.given_back(stream), message(5));
    assert_eq!(ejabberd.next(stream), Said::Finished);
}

#[test]
fn more_goes_back_than_a_window_holds() {
    let (ecm, mut ejabberd) = start("[bosh]\nmax_inactivity = \"1s\"\n");
    let session = Session::start(&ecm, &mut ejabberd, "");
    let stream = session.stream;
    ejabberd.trunk.consumes = false;
    let text = "x".repeat(10_000);
    let large = |n: usize| format!("<message xmlns='jabber:client' id='{n}'>{text}</message>");
    for n in 0..25 {
        ejabberd.send(stream, &[&large(n)]);
    }
    assert_eq!(ejabberd.given_back(stream), "");
    for n in 25..30 {
        ejabberd.send(stream, &[&large(n)]);
    }
    ejabberd.trunk.finish(stream);
    for n in 0..30 {
        assert_eq!(ejabberd.given_back(stream), large(n));
        let id = megaphone_trunk::v2::StreamId::new(stream);
        let _ = ejabberd.trunk.session.consumed(id, large(n).len());
    }
    assert_eq!(ejabberd.next(stream), Said::Finished);
}

#[test]
fn ejabberds_errors_reach_the_client() {
    let (ecm, mut ejabberd) = start("");
    let mut session = Session::start(&ecm, &mut ejabberd, "");
    session.ask(101, "", "");
    ejabberd.send(session.stream, &[ERROR, CLOSE]);
    session.expect(
        "<body xmlns='http://jabber.org/protocol/httpbind' \
         xmlns:stream='http://etherx.jabber.org/streams' type='terminate' \
         condition='remote-stream-error'><stream:error>\
         <conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></body>",
    );
    let stream = session.stream;
    assert_eq!(ejabberd.trunk.next_on(stream), Seen::Finished(stream));
    let mut session = Session::start(&ecm, &mut ejabberd, "");
    let elsewhere = CLOSE.replace("/>", " see-other-uri='https://b.example/bosh'/>");
    ejabberd.send(session.stream, &[&elsewhere]);
    session.ask(101, "", "");
    session.expect(
        "<body xmlns='http://jabber.org/protocol/httpbind' type='terminate' \
         condition='see-other-uri'><uri>https://b.example/bosh</uri></body>",
    );
}

#[test]
fn a_session_ends_with_its_trunk() {
    let peer = Peer2::start();
    let (ecm, mut trunks) = peer.start_ecm(1, "");
    let mut ejabberd = Sessions::new(trunks.remove(0));
    let mut held = Session::start(&ecm, &mut ejabberd, "");
    let mut between = Session::start(&ecm, &mut ejabberd, "");
    held.ask(101, "", "");
    held.ask(102, "", "");
    held.expect(EMPTY);
    drop(ejabberd);
    held.expect(&terminated("remote-connection-failed"));
    between.ask(101, "", "");
    between.expect(&terminated("remote-connection-failed"));
}

#[test]
fn without_a_trunk_there_is_no_session() {
    let ecm = Ecm::start_with_config(&common::v2::config("127.0.0.1:1", 1, ""));
    let mut client = ecm.client();
    client.send(&post(&creation("")));
    assert_eq!(
        response(&mut client).body,
        terminated("remote-connection-failed")
    );
}

#[test]
fn the_programs_end_is_told() {
    let (mut ecm, mut ejabberd) = start("");
    let mut session = Session::start(&ecm, &mut ejabberd, "");
    let idle = Session::start(&ecm, &mut ejabberd, "");
    session.ask(101, "", "");
    session.ask(102, "", "");
    session.expect(EMPTY);
    ecm.signal("TERM");
    let last = response(&mut session.client);
    assert_eq!(last.body, terminated("system-shutdown"));
    assert_eq!(last.field("Connection"), Some("close"));
    assert_eq!(session.client.rest(), "");
    for stream in [session.stream, idle.stream] {
        expect_client_gone(&mut ejabberd, stream);
    }
    assert!(ecm.wait_for_exit().success());
}

/// A session may be asked for by any connection, so connections stay until the last session was let go.
#[test]
fn sessions_are_let_go_one_after_the_other() {
    let (mut ecm, mut ejabberd) = start("[limits]\nclose_spread = \"1h\"\n");
    let mut sessions: Vec<_> = (0..8)
        .map(|_| Session::start(&ecm, &mut ejabberd, ""))
        .collect();
    ecm.signal("USR1");
    ecm.wait_for_log("leaving: clients are disconnected over the next 3600s");
    // The first of 64 parts is let go at once, which is one session of these at the most, but for bad luck.
    let mut served = 0;
    for session in &mut sessions {
        session.ask(101, "", "");
        session.ask(102, "", "");
        served += usize::from(response(&mut session.client).body == EMPTY);
    }
    assert!(served >= 4, "{served} of 8 are served");
    ecm.signal("TERM");
    for session in &mut sessions {
        let rest = session.client.rest();
        assert!(
            rest.is_empty() || rest.contains("condition='system-shutdown'"),
            "{rest}"
        );
    }
    drop(ejabberd);
    assert!(ecm.wait_for_exit().success());
}

#[test]
fn there_is_a_limit_of_sessions() {
    let (ecm, mut ejabberd) = start("[bosh]\nmax_sessions = 1\n");
    let _session = Session::start(&ecm, &mut ejabberd, "");
    let mut client = ecm.client();
    client.send(&post(&creation("")));
    assert_eq!(
        response(&mut client).body,
        terminated("internal-server-error")
    );
}

#[test]
fn other_paths_of_a_connection_go_on_to_ejabberd() {
    let (ecm, mut ejabberd) = start("");
    let mut session = Session::start(&ecm, &mut ejabberd, "");
    session.ask(101, "pause='10'", "");
    session.expect(EMPTY);
    session.client.send(&get("/api/status"));
    let (stream, header, request) = ejabberd.trunk.opened();
    assert_eq!(header.alpn.as_deref(), Some(&b"http/1.1"[..]));
    assert!(request.starts_with("GET /api/status "), "{request}");
    ejabberd.trunk.answer(stream, "fine");
    session.client.expect(&common::ok("fine"));
    session.ask(102, "", &message(1));
    assert_eq!(ejabberd.document(session.stream), message(1));
}

#[test]
fn with_bosh_switched_off_its_paths_do_too() {
    let (ecm, mut ejabberd) = start("[bosh]\nenabled = false\n");
    let mut client = ecm.client();
    client.send(&post(&creation("")));
    let (_, header, request) = ejabberd.trunk.opened();
    assert_eq!(header.alpn.as_deref(), Some(&b"http/1.1"[..]));
    assert!(request.starts_with("POST /bosh "), "{request}");
}

#[test]
fn a_trusted_proxy_says_whose_session_it_is() {
    let (ecm, mut trunks) = {
        let peer = Peer2::start();
        let config = common::v2::config(&peer.address.to_string(), 1, "");
        let config = format!("trusted_proxies = [\"127.0.0.1\"]\n{config}");
        let mut ecm = Ecm::start_with_config(&config);
        let trunk = peer.accept();
        ecm.wait_for_log("is up");
        (ecm, vec![trunk])
    };
    let mut trunk = trunks.remove(0);
    let mut client = ecm.client();
    let forwarded = "Host: a.example\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n";
    client.send(&post(&creation("")).replace("Host: a.example\r\n", forwarded));
    let (_, header, _) = trunk.opened();
    assert_eq!(source(&header), SocketAddr::from(([192, 0, 2, 7], 0)));
    assert_ne!(header.tls, None);
}

#[test]
fn answers_have_the_content_type_that_the_client_wants() {
    let (ecm, mut ejabberd) = start("");
    let mut session = Session::start(&ecm, &mut ejabberd, "content='text/html; charset=utf-8'");
    session.ask(101, "pause='1'", "");
    let answer = response(&mut session.client);
    assert_eq!(
        answer.field("Content-Type"),
        Some("text/html; charset=utf-8")
    );
}

/// What the program's memory grows by with each user who is online and whose poll is held, in bytes.
#[test]
fn an_idle_user_costs_little_memory() {
    const USERS: usize = 2000;
    common::allow_open_files();
    let (ecm, mut ejabberd) = start("[bosh]\nmax_wait = \"1h\"\n[limits]\nlogins_at_once = 0\n");
    let mut online = |count: usize| -> Vec<_> {
        let users = (0..count).map(|_| {
            let mut session = Session::start(&ecm, &mut ejabberd, "");
            let stream = session.stream;
            for (rid, attributes, payload, answer) in [
                (
                    101,
                    "",
                    "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
                    "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
                ),
                (102, "xmpp:restart='true'", "", FEATURES),
                (
                    103,
                    "",
                    "<iq type='set' id='1'/>",
                    "<iq xmlns='jabber:client' type='result' id='1'/>",
                ),
            ] {
                session.ask(rid, attributes, payload);
                ejabberd.document(stream);
                ejabberd.send(stream, &[answer]);
                response(&mut session.client);
            }
            session.ask(104, "", "<presence/>");
            ejabberd.document(stream);
            // As when a poll's time is up and the next one comes.
            for rid in 105..108 {
                session.ask(rid, "", "");
                session.expect(EMPTY);
            }
            session
        });
        users.collect()
    };
    let _warm = online(200);
    let before = ecm.resident_memory();
    let users = online(USERS);
    let after = ecm.resident_memory();
    assert_eq!(users.len(), USERS);
    let each = after.saturating_sub(before) / USERS as u64;
    assert!(each <= 3_072, "{each} bytes a user");
    println!("{each} bytes a user");
}

//! Clients on real sockets; ejabberd's end of their trunk is here.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use megaphone_http::{Event, Limits, RequestDecoder};
use megaphone_trunk::v2::INITIAL_WINDOW;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::*;
use crate::config::Config;
use crate::entrance::Downstream;
use crate::http::handshake::{self, Handshake};
use crate::http::{Origins, Routes};
use crate::node::{Nodes, testing};
use crate::peer::clients::Clients;
use crate::settings::Settings;
use crate::trunk::testing::{Ejabberd, Said, documents, gone};
use crate::websocket::frame::{Opcode, put_frame, unmask};

const OPEN: &str = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='a'/>";
const CLOSE: &str = "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>";
const IQ: &str = "<iq xmlns='jabber:client' id='1'/>";
const SUCCESS: &str = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";
const REQUEST: &str = "GET /ws HTTP/1.1\r\nHost: Example.org\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: xmpp\r\n\r\n";

/// Far longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(20);

/// A browser's side of a connection.
struct Browser {
    stream: TcpStream,
    input: BytesMut,
    task: JoinHandle<()>,
    phase: watch::Sender<Phase>,
    clients: Arc<Clients>,
}

/// What a browser gets.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Text(String),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>),
    End,
}

fn text(text: &str) -> Seen {
    Seen::Text(text.to_owned())
}

impl Browser {
    /// Connects, with what was sent behind the handshake, and takes the answer to it.
    async fn connect(nodes: &Arc<Nodes>, config: &Config, behind: &[u8]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (browser, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (stream, peer) = accepted.unwrap();
        let mut input = BytesMut::from(REQUEST.as_bytes());
        input.extend_from_slice(behind);
        let mut decoder = RequestDecoder::new(Limits::default());
        let Ok(Some(Event::Head(head))) = decoder.decode(&mut input) else {
            panic!("a head is read");
        };
        let (phase, receiver) = watch::channel(Phase::Serving);
        let settings = Arc::new(Settings::new(config));
        let clients = Arc::new(Clients::new(1));
        let place = clients.place(1).unwrap();
        let handover = Handover {
            downstream: Downstream::for_test(stream, place, settings, Arc::clone(nodes)),
            phase: receiver,
            origins: Origins::Peer(peer),
            decoder,
            input: input.into(),
            head,
        };
        let Handshake::Accepted(answer) = handshake::read(&handover.head, &[]) else {
            panic!("the handshake is accepted");
        };
        let task = tokio::spawn(serve(handover, &answer));
        let mut browser = Self {
            stream: browser.unwrap(),
            input: BytesMut::new(),
            task,
            phase,
            clients,
        };
        let mut got = vec![0; answer.len()];
        browser.stream.read_exact(&mut got).await.unwrap();
        assert_eq!(got, answer);
        browser
    }

    async fn send(&mut self, first: u8, payload: &[u8]) {
        self.stream.write_all(&frame(first, payload)).await.unwrap();
    }

    async fn say(&mut self, document: &str) {
        self.send(0x81, document.as_bytes()).await;
    }

    async fn see(&mut self) -> Seen {
        timeout(PATIENCE, self.next())
            .await
            .expect("something comes")
    }

    async fn next(&mut self) -> Seen {
        loop {
            if let Some(seen) = self.frame() {
                return seen;
            }
            match self.stream.read_buf(&mut self.input).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return Seen::End,
            }
        }
    }

    fn frame(&mut self) -> Option<Seen> {
        let (first, second) = (*self.input.first()?, *self.input.get(1)?);
        let (header, length) = match second {
            126 => (
                4,
                usize::from(u16::from_be_bytes(
                    self.input.get(2..4)?.try_into().unwrap(),
                )),
            ),
            127 => {
                let bytes = self.input.get(2..10)?.try_into().unwrap();
                (10, usize::try_from(u64::from_be_bytes(bytes)).unwrap())
            }
            short => (2, usize::from(short)),
        };
        if self.input.len() < header + length {
            return None;
        }
        let frame = self.input.split_to(header + length);
        let payload = frame[header..].to_vec();
        Some(match first {
            0x81 => Seen::Text(String::from_utf8(payload).unwrap()),
            0x89 => Seen::Ping(payload),
            0x8a => Seen::Pong(payload),
            0x88 => Seen::Close(
                payload
                    .get(..2)
                    .map(|code| u16::from_be_bytes([code[0], code[1]])),
            ),
            other => panic!("a frame begins with {other:x}"),
        })
    }

    /// The documents of an error, the close code after them, and the end.
    async fn see_error(&mut self, condition: &str, code: u16) {
        let mut seen = self.see().await;
        if matches!(&seen, Seen::Text(text) if text.starts_with("<open ")) {
            seen = self.see().await;
        }
        match seen {
            Seen::Text(error) => assert!(error.contains(&format!("<{condition} ")), "{error}"),
            other => panic!("expected a stream error, got {other:?}"),
        }
        assert_eq!(self.see().await, text(CLOSE));
        self.see_close(code).await;
    }

    async fn see_close(&mut self, code: u16) {
        assert_eq!(self.see().await, Seen::Close(Some(code)));
    }

    /// The connection ends without a word, once the client has answered the close frame.
    async fn see_end(mut self) {
        assert_eq!(self.see().await, Seen::End);
        drop(self.stream);
        self.task.await.unwrap();
        assert_eq!(self.clients.count(), 0, "its place is not free");
    }
}

fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [1, 2, 3, 4];
    let mut out = Vec::new();
    put_frame(&mut out, Opcode::Text, payload);
    out[0] = first;
    out[1] |= 0x80;
    let header = out.len() - payload.len();
    out.splice(header..header, mask);
    unmask(&mut out[header + 4..], mask, 0);
    out
}

async fn start_with(config: &Config) -> (Browser, Ejabberd, u32) {
    let (nodes, mut ejabberd) = testing::start();
    let mut browser = Browser::connect(&nodes, config, b"").await;
    browser.say(OPEN).await;
    let id = opened(&mut ejabberd).await;
    assert_eq!(ejabberd.documents(id), [OPEN]);
    ejabberd.send_document(id, OPEN);
    assert_eq!(browser.see().await, text(OPEN));
    (browser, ejabberd, id)
}

/// A client whose stream is open, ejabberd, and the stream's id.
async fn start() -> (Browser, Ejabberd, u32) {
    start_with(&Config::default()).await
}

/// Waits until ejabberd has something; each turn lets the client's task go on.
async fn until<T>(mut condition: impl FnMut() -> Option<T>) -> T {
    let wait = async {
        loop {
            if let Some(value) = condition() {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    timeout(PATIENCE, wait).await.expect("it happens")
}

async fn opened(ejabberd: &mut Ejabberd) -> u32 {
    until(|| ejabberd.has_opened().then_some(())).await;
    ejabberd.opened().0
}

/// ejabberd hears that the client is gone, and has nothing to come back to.
async fn refused(ejabberd: &mut Ejabberd, id: u32) {
    let expected = [gone(&[]), documents(&[CLOSE])].concat();
    assert_eq!(ejabberd.said_to_the_end(id).await, expected);
}

async fn document(ejabberd: &mut Ejabberd, id: u32) -> String {
    let documents = until(|| Some(ejabberd.documents(id)).filter(|all| !all.is_empty())).await;
    assert_eq!(documents.len(), 1, "{documents:?}");
    documents.concat()
}

#[tokio::test]
async fn a_session_from_open_to_close() {
    let (mut browser, mut ejabberd, id) = start().await;
    browser.say("<iq id='1'/>").await;
    assert_eq!(
        document(&mut ejabberd, id).await,
        "<iq xmlns='jabber:client' id='1'/>"
    );
    ejabberd.send_document(id, "<iq type='result'/>");
    ejabberd.send_document(id, "<message/>");
    assert_eq!(browser.see().await, text("<iq type='result'/>"));
    assert_eq!(browser.see().await, text("<message/>"));
    // The stream starts again, as after a login.
    browser.say(OPEN).await;
    assert_eq!(document(&mut ejabberd, id).await, OPEN);
    ejabberd.send_document(id, OPEN);
    assert_eq!(browser.see().await, text(OPEN));
    browser.say(CLOSE).await;
    assert_eq!(document(&mut ejabberd, id).await, CLOSE);
    ejabberd.send_document(id, CLOSE);
    ejabberd.finish(id);
    assert_eq!(browser.see().await, text(CLOSE));
    browser.see_close(1000).await;
    browser.send(0x88, b"\x03\xe8").await;
    browser.see_end().await;
    let end = ejabberd.received(id);
    assert!(end.finished && !end.reset, "{end:?}");
}

#[tokio::test]
async fn ejabberd_hears_who_it_is() {
    let (nodes, mut ejabberd) = testing::start();
    let mut browser = Browser::connect(&nodes, &Config::default(), b"").await;
    assert!(
        !ejabberd.has_opened(),
        "a handshake alone costs ejabberd nothing"
    );
    browser.say(OPEN).await;
    until(|| ejabberd.has_opened().then_some(())).await;
    let (_, header) = ejabberd.opened();
    assert_eq!(header.authority.as_deref(), Some("example.org"));
    assert_eq!(
        header.transport,
        Some(megaphone_trunk::proxy::Transport::WebSocket)
    );
    let source = browser.stream.local_addr().unwrap();
    assert!(format!("{:?}", header.addresses).contains(&source.to_string()));
}

#[tokio::test]
async fn documents_in_fragments_with_pings_between_them() {
    let (mut browser, mut ejabberd, id) = start().await;
    browser.send(0x01, b"<iq xmlns='jabber:").await;
    browser.send(0x89, b"are you there").await;
    assert_eq!(browser.see().await, Seen::Pong(b"are you there".to_vec()));
    browser.send(0x00, b"").await;
    browser.send(0x80, "client'>é</iq>".as_bytes()).await;
    assert_eq!(
        document(&mut ejabberd, id).await,
        "<iq xmlns='jabber:client'>é</iq>"
    );
    // White space and pongs that nobody asked for are signs of life.
    browser.send(0x81, b" ").await;
    browser.send(0x8a, b"x").await;
    browser.say("<iq/>").await;
    assert_eq!(
        document(&mut ejabberd, id).await,
        "<iq xmlns='jabber:client'/>"
    );
}

#[tokio::test]
async fn what_comes_right_behind_the_handshake_is_not_lost() {
    let (nodes, mut ejabberd) = testing::start();
    let behind = frame(0x81, OPEN.as_bytes());
    for cut in [behind.len(), 3] {
        let (first, second) = behind.split_at(cut);
        let mut browser = Browser::connect(&nodes, &Config::default(), first).await;
        browser.stream.write_all(second).await.unwrap();
        let id = opened(&mut ejabberd).await;
        assert_eq!(ejabberd.documents(id), [OPEN]);
    }
}

/// Each row: what a client sends, the close code that it gets, and what ejabberd is told.
#[tokio::test]
async fn frames_that_can_not_be_read_close_with_their_code_and_break_the_session() {
    for (bytes, code) in [
        (frame(0xc1, b"x"), 1002),
        (frame(0x83, b"x"), 1002),
        (frame(0x80, b"x"), 1002),
        (frame(0x09, b"x"), 1002),
        (vec![0x81, 0x01, b'x'], 1002),
        (frame(0x88, b"\x03"), 1002),
        (frame(0x88, b"\x03\xed"), 1002),
        (frame(0x88, b"\x03\xe8\xff"), 1007),
        (frame(0x81, b"\xff"), 1007),
        (frame(0x82, b"<iq>\xff</iq>"), 1007),
    ] {
        let (mut browser, mut ejabberd, id) = start().await;
        let bytes = [frame(0x81, IQ.as_bytes()), bytes].concat();
        browser.stream.write_all(&bytes).await.unwrap();
        assert_eq!(browser.see().await, Seen::Close(Some(code)), "{bytes:x?}");
        browser.see_end().await;
        assert_eq!(
            ejabberd.said_to_the_end(id).await,
            [documents(&[IQ]), gone(&[])].concat(),
            "{bytes:x?}"
        );
    }
}

/// Each row: a document, the stream's error and the close code.
#[tokio::test]
async fn documents_that_can_not_be_taken_end_the_stream_with_an_error() {
    let mut config = Config::default();
    config.limits.max_stanza_size = 10_000;
    let long = format!("<iq>{}</iq>", "x".repeat(10_000));
    let deep = format!("{}{}", "<a>".repeat(513), "</a>".repeat(513));
    for (message, condition, code) in [
        ("<iq>", "not-well-formed", 1007),
        ("<iq/><iq/>", "not-well-formed", 1007),
        ("hello", "not-well-formed", 1007),
        ("<iq><!-- --></iq>", "restricted-xml", 1007),
        ("<iq>&lol;</iq>", "restricted-xml", 1007),
        (&deep, "policy-violation", 1008),
        (&long, "policy-violation", 1009),
    ] {
        let (mut browser, mut ejabberd, id) = start_with(&config).await;
        let bytes = [IQ, message].map(|text| frame(0x81, text.as_bytes()));
        browser.stream.write_all(&bytes.concat()).await.unwrap();
        browser.see_error(condition, code).await;
        browser.send(0x88, b"").await;
        browser.see_end().await;
        assert_eq!(
            ejabberd.said_to_the_end(id).await,
            [documents(&[IQ]), gone(&[]), documents(&[CLOSE])].concat(),
            "{condition}"
        );
    }
}

#[tokio::test]
async fn more_may_come_at_once_after_the_login() {
    let long = format!("<iq xmlns='jabber:client'>{}</iq>", "x".repeat(100_000));
    let (mut browser, mut ejabberd, id) = start().await;
    ejabberd.send_document(id, SUCCESS);
    assert_eq!(browser.see().await, text(SUCCESS));
    browser.say(&long).await;
    assert!(document(&mut ejabberd, id).await == long, "it differs");
    // Named as if it had logged in.
    for named in [
        "<other/>",
        "<success xmlns='urn:other'/>",
        "<message xmlns='urn:other'/>",
        "<presence xmlns='urn:other'/>",
        "<iq xmlns='jabber:server'/>",
        // Anybody gets one.
        "<iq xmlns='jabber:client' type='error'/>",
    ] {
        let (mut browser, mut ejabberd, id) = start().await;
        ejabberd.send_document(id, named);
        assert_eq!(browser.see().await, text(named));
        browser.say(&long).await;
        browser.see_error("policy-violation", 1009).await;
        refused(&mut ejabberd, id).await;
    }
}

#[tokio::test]
async fn a_stream_begins_with_open_and_an_error_before_it_has_one_of_its_own() {
    let (nodes, mut ejabberd) = testing::start();
    let mut browser = Browser::connect(&nodes, &Config::default(), b"").await;
    browser.say("<iq/>").await;
    match browser.see().await {
        Seen::Text(open) => assert!(open.starts_with("<open "), "{open}"),
        other => panic!("expected an <open/>, got {other:?}"),
    }
    browser.see_error("bad-format", 1008).await;
    assert!(!ejabberd.has_opened());
}

#[tokio::test]
async fn without_a_trunk_the_client_is_told_to_try_again() {
    let (nodes, mut ejabberd) = testing::start();
    ejabberd.cut();
    let mut browser = Browser::connect(&nodes, &Config::default(), b"").await;
    browser.say(OPEN).await;
    browser.see_error("remote-connection-failed", 1013).await;
}

#[tokio::test]
async fn a_lost_session_ends_with_an_error_at_once() {
    let (mut browser, mut ejabberd, _) = start().await;
    ejabberd.cut();
    browser.see_error("remote-connection-failed", 1001).await;
    let (mut browser, mut ejabberd, id) = start().await;
    ejabberd.reset(id);
    browser.see_error("remote-connection-failed", 1011).await;
    let (mut browser, mut ejabberd, id) = start().await;
    ejabberd.finish(id);
    browser.see_error("remote-connection-failed", 1011).await;
}

#[tokio::test]
async fn a_stream_that_ejabberd_closes_ends_in_order() {
    let (mut browser, mut ejabberd, id) = start().await;
    let error = "<stream:error xmlns:stream='http://etherx.jabber.org/streams'/>";
    let elsewhere =
        "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing' see-other-uri='wss://b/ws'/>";
    ejabberd.send_document(id, error);
    ejabberd.send_document(id, elsewhere);
    ejabberd.finish(id);
    assert_eq!(browser.see().await, text(error));
    assert_eq!(browser.see().await, text(elsewhere));
    browser.see_close(1000).await;
    // Its answer is for nobody.
    browser.say(CLOSE).await;
    browser.send(0x88, b"\x03\xe8").await;
    browser.see_end().await;
}

/// Each row: what a client sends behind its documents, and the close code that it gets.
#[tokio::test]
async fn a_client_that_leaves_without_close_breaks_its_session_behind_what_it_sent() {
    for (last, code) in [
        (Some(frame(0x88, b"\x03\xe9")), Some(1001)),
        (Some(frame(0x88, b"")), None),
        (None, None),
        // A part of a frame, and of a message.
        (Some(frame(0x81, b"<iq/>")[..8].to_vec()), None),
        (Some(frame(0x01, b"<iq/>")), None),
    ] {
        let (mut browser, mut ejabberd, id) = start().await;
        let iqs: Vec<_> = (0..20).map(|n| IQ.replace('1', &n.to_string())).collect();
        let mut bytes = Vec::new();
        for iq in &iqs {
            bytes.extend(frame(0x81, iq.as_bytes()));
        }
        bytes.extend(last.as_deref().unwrap_or_default());
        browser.stream.write_all(&bytes).await.unwrap();
        if last.as_deref().is_some_and(|last| last[0] == 0x88) {
            assert_eq!(browser.see().await, Seen::Close(code));
            browser.see_end().await;
        } else {
            drop(browser.stream);
            browser.task.await.unwrap();
        }
        let iqs: Vec<_> = iqs.iter().map(String::as_str).collect();
        assert_eq!(
            ejabberd.said_to_the_end(id).await,
            [documents(&iqs), gone(&[])].concat()
        );
    }
}

#[tokio::test]
async fn a_client_that_closed_its_stream_leaves_in_order() {
    let (mut browser, mut ejabberd, id) = start().await;
    browser.say(CLOSE).await;
    assert_eq!(document(&mut ejabberd, id).await, CLOSE);
    browser.send(0x88, b"\x03\xe8").await;
    assert_eq!(browser.see().await, Seen::Close(Some(1000)));
    browser.see_end().await;
    let end = ejabberd.received(id);
    assert!(end.finished && !end.reset, "{end:?}");
}

#[tokio::test]
async fn the_programs_end_is_told_and_breaks_the_session() {
    let (nodes, mut ejabberd) = testing::start();
    let mut waiting = Browser::connect(&nodes, &Config::default(), b"").await;
    let mut browser = Browser::connect(&nodes, &Config::default(), b"").await;
    browser.say(OPEN).await;
    let id = opened(&mut ejabberd).await;
    for browser in [&waiting, &browser] {
        browser.phase.send_replace(Phase::Draining);
    }
    nodes.wake_all();
    browser.see_error("system-shutdown", 1001).await;
    waiting.see_error("system-shutdown", 1001).await;
    // It had not read that yet.
    browser.say(IQ).await;
    browser.say(CLOSE).await;
    browser.send(0x88, b"\x03\xe9").await;
    browser.see_end().await;
    assert_eq!(
        ejabberd.said_to_the_end(id).await,
        [documents(&[OPEN, IQ]), gone(&[])].concat()
    );
    // A client that does not answer is closed in the end.
    waiting.see_end().await;
}

#[tokio::test]
async fn a_client_that_does_not_log_in_is_closed() {
    let mut config = Config::default();
    config.limits.auth_timeout = Duration::from_millis(50);
    let (nodes, _ejabberd) = testing::start();
    let mut browser = Browser::connect(&nodes, &config, b"").await;
    browser.see_error("connection-timeout", 1008).await;
    config.limits.auth_timeout = Duration::from_millis(500);
    let (nodes, mut ejabberd) = testing::start();
    let mut browser = Browser::connect(&nodes, &config, b"").await;
    browser.say(OPEN).await;
    let id = opened(&mut ejabberd).await;
    assert_eq!(ejabberd.documents(id), [OPEN]);
    browser.see_error("connection-timeout", 1008).await;
    refused(&mut ejabberd, id).await;
}

#[tokio::test]
async fn a_silent_client_gets_pings_and_is_given_up() {
    let mut config = Config::default();
    config.websocket.ping_interval = Duration::from_millis(100);
    config.websocket.timeout = Duration::from_secs(1);
    let (mut browser, mut ejabberd, id) = start_with(&config).await;
    ejabberd.send_document(id, SUCCESS);
    assert_eq!(browser.see().await, text(SUCCESS));
    // It answers, for longer than its time.
    for _ in 0..12 {
        assert_eq!(browser.see().await, Seen::Ping(Vec::new()));
        browser.send(0x8a, b"").await;
    }
    // It answers no more.
    let mut pings = 0;
    let last = loop {
        match browser.see().await {
            Seen::Ping(_) => pings += 1,
            other => break other,
        }
    };
    assert!(pings > 0, "no ping came before the end");
    assert!(
        matches!(&last, Seen::Text(error) if error.contains("connection-timeout")),
        "{last:?}"
    );
    assert_eq!(browser.see().await, text(CLOSE));
    browser.see_close(1001).await;
    // It was not dead at all.
    browser.say(IQ).await;
    browser.see_end().await;
    assert_eq!(
        ejabberd.said_to_the_end(id).await,
        [documents(&[IQ]), gone(&[])].concat()
    );
}

#[tokio::test]
async fn a_message_that_trickles_in_is_not_waited_for() {
    let mut config = Config::default();
    config.limits.body_timeout = Duration::from_millis(100);
    let (mut browser, mut ejabberd, id) = start_with(&config).await;
    browser.say("<iq/>").await;
    document(&mut ejabberd, id).await;
    browser.send(0x01, b"<iq").await;
    browser.see_error("policy-violation", 1008).await;
}

/// Each read ends within a message, but no message takes long.
#[tokio::test]
async fn a_client_with_a_message_under_way_all_the_time_is_not_slow() {
    let mut config = Config::default();
    config.limits.body_timeout = Duration::from_millis(500);
    let (mut browser, mut ejabberd, id) = start_with(&config).await;
    let whole = frame(0x81, b"<iq xmlns='jabber:client'/>");
    let (first, second) = whole.split_at(whole.len() / 2);
    browser.stream.write_all(first).await.unwrap();
    let end = Instant::now() + 3 * config.limits.body_timeout;
    while Instant::now() < end {
        let turn = [second, first].concat();
        browser.stream.write_all(&turn).await.unwrap();
        assert_eq!(
            document(&mut ejabberd, id).await,
            "<iq xmlns='jabber:client'/>"
        );
    }
}

#[tokio::test]
async fn a_slow_client_slows_ejabberd_and_is_closed_in_the_end() {
    let mut config = Config::default();
    config.limits.send_timeout = Duration::from_millis(300);
    let (mut browser, mut ejabberd, id) = start_with(&config).await;
    let body = "x".repeat(1000);
    let message = |number: usize| format!("<message id='{number}'>{body}</message>");
    // More than the kernel's buffers take.
    for number in 0..40_000 {
        ejabberd.send_document(id, &message(number));
    }
    let window = INITIAL_WINDOW as usize;
    assert!(ejabberd.queued(id) > window, "all of it was taken");
    // It reads slowly, for longer than its time in all.
    let read = 1000;
    for number in 0..read {
        assert_eq!(browser.see().await, text(&message(number)));
        ejabberd.exchange();
    }
    assert!(ejabberd.queued(id) > window, "all of it was taken");
    // And then not at all: what its socket had no room for comes back, the document too that it has in part.
    let said = ejabberd.said_to_the_end(id).await;
    browser.task.await.unwrap();
    let mut rest = Vec::new();
    let _ = browser.stream.read_to_end(&mut rest).await;
    let Some(Said::GivenBack(first)) = said.get(1) else {
        panic!("nothing came back");
    };
    let number = |document: &str| -> usize {
        let number = document.split('\'').nth(1).unwrap();
        number.parse().unwrap()
    };
    let (first, count) = (number(first), said.len() - 1);
    assert!(
        first >= read && count * body.len() > window,
        "{first} {count}"
    );
    for (place, said) in said[1..].iter().enumerate() {
        assert_eq!(said, &Said::GivenBack(message(first + place)));
    }
}

#[tokio::test]
async fn a_client_that_is_faster_than_ejabberd_waits() {
    let (mut browser, mut ejabberd, id) = start().await;
    let stanza = format!("<iq xmlns='jabber:client'>{}</iq>", "x".repeat(1000));
    let total: u32 = 20_000;
    let sending = {
        let frames = frame(0x81, stanza.as_bytes());
        let (reader, mut writer) = browser.stream.into_split();
        let task = tokio::spawn(async move {
            for _ in 0..total {
                writer.write_all(&frames).await.unwrap();
            }
            writer
        });
        (reader, task)
    };
    let window = INITIAL_WINDOW as usize;
    // The window's worth comes, and a little that waits for it.
    let mut seen = 0;
    for _ in 0..50 {
        ejabberd.exchange_unconsumed();
        seen = ejabberd.unread(id);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(
        seen <= window,
        "{seen} bytes came into a window of {window}"
    );
    assert!(
        seen > window / 2,
        "{seen} bytes came into a window of {window}"
    );
    ejabberd.consume(id, seen);
    let mut documents = 0;
    until(|| {
        let all = ejabberd.documents(id);
        assert!(all.iter().all(|document| *document == stanza));
        documents += all.len();
        (documents == total as usize).then_some(())
    })
    .await;
    let (reader, task) = sending;
    browser.stream = reader.reunite(task.await.unwrap()).unwrap();
    browser.say(CLOSE).await;
    assert_eq!(document(&mut ejabberd, id).await, CLOSE);
}

/// Each client has such a task for as long as it is connected.
#[tokio::test]
async fn a_clients_task_stays_small() {
    let (nodes, _ejabberd) = testing::start();
    let browser = Browser::connect(&nodes, &Config::default(), b"").await;
    assert!(Routes::of(&Config::default()).find("/ws").is_some());
    assert!(size_of::<Client>() <= 320, "{} bytes", size_of::<Client>());
    drop(browser);
}

//! Input that nobody takes: what waits of all clients together has a bound, whatever it is a part of, and those
//! with the most of it have to go.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::io::{ErrorKind, Write as _};
use std::net::TcpStream;
use std::time::Instant;

use common::authority::Authority;
use common::metrics::{METRICS, scrape};
use common::sessions::Sessions;
use common::v2::{FIRST, Peer2, Seen};
use common::{Client, Ecm, PATIENCE};

const KIB: usize = 1024;

/// The bound.
const MOST: usize = 1024 * KIB;
/// What each of many sends, and how many there are: together twice the bound.
const MUCH: usize = 48 * KIB;
const MANY: usize = 2 * MOST / MUCH;

const HEADER: &str = "<stream:stream xmlns='jabber:client' \
     xmlns:stream='http://etherx.jabber.org/streams' to='a' version='1.0'>";
const OPEN: &str = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='a'/>";
const SUCCESS: &str = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";
const UPGRADE: &str = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
     Sec-WebSocket-Protocol: xmpp\r\n\r\n";

/// A program with a listener of each kind, and the least bound.
struct Program {
    ecm: Ecm,
    trunk: Sessions,
    _authority: Authority,
    _peer: Peer2,
}

impl Program {
    fn start() -> Self {
        common::allow_open_files();
        let peer = Peer2::start();
        let authority = Authority::new();
        let config = format!(
            "threads = 1\n[limits]\nmax_input_buffer = \"1 MiB\"\n[trunk]\naddress = \"{}\"\n\
             trunks = 1\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
             [[listener]]\naddress = \"127.0.0.1:0\"\nkind = \"https\"\n\
             [[listener]]\naddress = \"127.0.0.1:0\"\nkind = \"xmpp\"\nstarttls = \"off\"\n{}{METRICS}",
            peer.address,
            authority.sign("a.example").table(),
        );
        let mut ecm = Ecm::start_with_config(&config);
        let trunk = Sessions::new(peer.accept());
        ecm.wait_for_log("is up");
        Self {
            ecm,
            trunk,
            _authority: authority,
            _peer: peer,
        }
    }

    fn connect(&mut self, kind: &str) -> TcpStream {
        Client::connect(self.ecm.listener(kind)).stream
    }

    /// An XML stream, logged in.
    fn log_in(&mut self) -> TcpStream {
        let mut client = Client::connect(self.ecm.listener("xmpp"));
        client.send(HEADER);
        let id = self.opened();
        self.trunk.send(id, &[OPEN, SUCCESS]);
        client.until(SUCCESS);
        client.send(HEADER);
        client.stream
    }

    /// The next session, whatever happens on others.
    #[track_caller]
    fn opened(&mut self) -> u32 {
        loop {
            if let Seen::Opened(id, _) = self.trunk.trunk.next() {
                return id;
            }
        }
    }

    /// A WebSocket.
    fn websocket(&mut self) -> TcpStream {
        let mut client = self.ecm.client();
        client.send(UPGRADE);
        client.until("\r\n\r\n");
        client.stream
    }

    fn input_bytes(&mut self) -> f64 {
        scrape(&mut self.ecm)["megaphone_ecm_waiting_bytes{direction=\"in\"}"]
    }

    /// Waits until so much has come that some had to go, and so many that the rest is less than the bound.
    #[track_caller]
    fn wait_for_evictions(&mut self) {
        let until = Instant::now() + PATIENCE;
        loop {
            let samples = scrape(&mut self.ecm);
            let evicted = samples["megaphone_ecm_refusals_total{reason=\"input_buffer\"}"];
            let waiting = samples["megaphone_ecm_waiting_bytes{direction=\"in\"}"];
            #[allow(clippy::cast_precision_loss)]
            if evicted >= (MANY / 3) as f64 && waiting <= MOST as f64 {
                return;
            }
            assert!(Instant::now() < until, "{evicted} gone, {waiting} bytes");
        }
    }
}

/// Whether a connection goes on.
fn is_open(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let open = match stream.peek(&mut [0]) {
        Ok(0) => false,
        Ok(_) => true,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    };
    stream.set_nonblocking(false).unwrap();
    open
}

/// Has many clients send much that waits, beside one that sends little: that one stays.
#[track_caller]
fn those_with_the_most_go(mut send: impl FnMut(&mut Program, usize) -> TcpStream) {
    let mut program = Program::start();
    let little = send(&mut program, KIB);
    let many: Vec<_> = (0..MANY).map(|_| send(&mut program, MUCH)).collect();
    program.wait_for_evictions();
    // Their tasks end a moment after they stopped to count.
    let until = Instant::now() + PATIENCE;
    while many.iter().all(is_open) {
        assert!(Instant::now() < until, "all of them are left");
    }
    assert!(is_open(&little));
    drop((many, little));
    let until = Instant::now() + PATIENCE;
    while program.input_bytes() > 0.0 {
        assert!(Instant::now() < until, "{} bytes", program.input_bytes());
    }
}

/// Sends the start of something, and so many bytes of it.
fn begin(mut stream: TcpStream, start: &str, filling: usize) -> TcpStream {
    // It may be one too many.
    let _ = stream.write_all(start.as_bytes());
    let _ = stream.write_all(&vec![b'x'; filling]);
    stream
}

#[test]
fn heads_of_requests() {
    those_with_the_most_go(|program, size| {
        let stream = program.connect("http)");
        begin(stream, "GET / HTTP/1.1\r\nHost: a\r\nA: ", size)
    });
}

#[test]
fn bodies_for_ejabberd() {
    those_with_the_most_go(|program, size| {
        let stream = program.connect("http)");
        let head = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 65536\r\n\r\n";
        begin(stream, head, size)
    });
}

#[test]
fn bodies_of_bosh() {
    those_with_the_most_go(|program, size| {
        let stream = program.connect("http)");
        let head = "POST /bosh HTTP/1.1\r\nHost: a\r\nContent-Length: 65536\r\n\r\n";
        begin(stream, head, size)
    });
}

#[test]
fn stanzas() {
    those_with_the_most_go(|program, size| {
        let stream = program.log_in();
        begin(stream, "<message><body>", size)
    });
}

#[test]
fn messages_of_websocket_in_fragments() {
    those_with_the_most_go(|program, size| {
        let mut stream = program.websocket();
        // Text that goes on, with a mask of zeros.
        let length = u16::try_from(size / 4).unwrap().to_be_bytes();
        for opcode in [1, 0, 0, 0] {
            let frame = [opcode, 0xfe, length[0], length[1], 0, 0, 0, 0];
            let _ = stream.write_all(&frame);
            let _ = stream.write_all(&vec![b' '; size / 4]);
        }
        stream
    });
}

#[test]
fn handshakes_of_tls() {
    those_with_the_most_go(|program, size| {
        let mut stream = program.connect("https)");
        // A ClientHello of 60 KiB, in records of 4 KiB.
        let hello = [&[1, 0, 0xf0, 0, 3, 3][..], &vec![0; size]].concat();
        for piece in hello.chunks(4 * KIB) {
            let length = u16::try_from(piece.len()).unwrap().to_be_bytes();
            let _ = stream.write_all(&[22, 3, 1, length[0], length[1]]);
            let _ = stream.write_all(piece);
        }
        stream
    });
}

#[test]
fn requests_before_one_that_is_missing() {
    let mut program = Program::start();
    let ask = |program: &Program, attributes: &str, payload: &str| {
        let namespaces = "xmlns='http://jabber.org/protocol/httpbind' xmlns:xmpp='urn:xmpp:xbosh'";
        let body = format!("<body {namespaces} {attributes}>{payload}</body>");
        let head = "POST /bosh HTTP/1.1\r\nHost: a\r\nContent-Length: ";
        let mut client = program.ecm.client();
        client.send(&format!("{head}{}\r\n\r\n{body}", body.len()));
        client
    };
    let create = |program: &mut Program| {
        let attributes = "rid='1' to='a' hold='1' wait='60' ver='1.6' xmpp:version='1.0'";
        let mut client = ask(program, attributes, "");
        let id = program.opened();
        let features = "<stream:features xmlns:stream='http://etherx.jabber.org/streams'/>";
        program.trunk.send(id, &[OPEN, features]);
        let answer = client.until("</body>");
        let sid = answer.split(" sid='").nth(1).unwrap();
        sid.split('\'').next().unwrap().to_owned()
    };
    // Small elements take more memory than bytes.
    let much = "<a/>".repeat(8 * KIB / 4);
    let mut clients = Vec::new();
    let early = |sid: &str| format!("rid='3' sid='{sid}'");
    let first = create(&mut program);
    clients.push(ask(&program, &early(&first), "<a/>"));
    for _ in 0..MANY {
        let sid = create(&mut program);
        clients.push(ask(&program, &early(&sid), &much));
    }
    program.wait_for_evictions();
    // The session that had little goes on when what was missing comes.
    let _missing = ask(&program, &format!("rid='2' sid='{first}'"), "<b/>");
    assert!(program.trunk.document(FIRST).starts_with("<b "));
    assert!(program.trunk.document(FIRST).starts_with("<a "));
    let mut last = clients.pop().unwrap();
    let told = last.until("/>");
    assert!(
        told.contains("condition='internal-server-error'") || told.is_empty(),
        "{told}"
    );
}

#[test]
fn what_ejabberd_does_not_take() {
    let mut program = Program::start();
    program.trunk.trunk.consumes = false;
    let mut clients: Vec<_> = (0..8).map(|_| program.log_in()).collect();
    let document = format!("<message>{}</message>", "x".repeat(200 * KIB));
    // A window, what is taken ahead of it, what is held, and what is not looked at.
    for client in &mut clients {
        client.set_nonblocking(true).unwrap();
        for _ in 0..3 {
            let _ = client.write(document.as_bytes());
        }
    }
    let until = Instant::now() + PATIENCE;
    loop {
        program
            .trunk
            .trunk
            .read(std::time::Duration::from_millis(1));
        let samples = scrape(&mut program.ecm);
        if samples["megaphone_ecm_refusals_total{reason=\"input_buffer\"}"] > 0.0 {
            break;
        }
        assert!(Instant::now() < until, "{samples:#?}");
    }
    // Without the trunk nothing waits for it.
    program.trunk.trunk.transport.close();
    let until = Instant::now() + PATIENCE;
    while program.input_bytes() > 0.0 {
        assert!(Instant::now() < until, "{} bytes", program.input_bytes());
    }
}

/// As while ejabberd's machine swaps: nothing is read from the trunk.
#[test]
fn what_a_trunk_does_not_take_that_stands_still() {
    let mut program = Program::start();
    let mut clients: Vec<_> = (0..60).map(|_| program.log_in()).collect();
    // Less than a window each, and together more than the sockets' buffers.
    let document = format!("<message>{}</message>", "x".repeat(200 * KIB));
    for client in &mut clients {
        client.set_nonblocking(true).unwrap();
        let _ = client.write(document.as_bytes());
    }
    let until = Instant::now() + PATIENCE;
    let name = "megaphone_ecm_refusals_total{reason=\"input_buffer\"}";
    while scrape(&mut program.ecm)[name] == 0.0 {
        assert!(Instant::now() < until, "{:#?}", scrape(&mut program.ecm));
    }
}

/// Clients of whom nobody knows anything send bodies that nobody may.
#[test]
fn bodies_before_a_login_cost_next_to_nothing() {
    const CLIENTS: usize = 200;
    let program = Program::start();
    let body = "<a/>".repeat(512 * KIB);
    let start = "<body xmlns='http://jabber.org/protocol/httpbind' rid='1' to='a'>";
    let length = start.len() + body.len() + 1;
    let head = format!("POST /bosh HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{start}");
    let before = program.ecm.resident_memory();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let mut client = program.ecm.client();
            client.send(&head);
            // It is refused before all of it has come.
            let _ = client.stream.write_all(body.as_bytes());
            client
        })
        .collect();
    let after = program.ecm.resident_memory();
    drop(clients);
    let each = after.saturating_sub(before) / CLIENTS as u64;
    assert!(each < 64 * 1024, "{each} bytes a client");
}

//! ejabberd's end of a trunk of version 2: this project's server session on a real socket.

use std::collections::{HashMap, HashSet, VecDeque};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use bytes::Bytes;
use megaphone_trunk::proxy::{self, Addresses, Header};
use megaphone_trunk::v2::{Config, Event, GoAwayCode, Session, SessionError, StreamId, Written};
use megaphone_xmpp::framing::{Control, put_control};

use super::{Ecm, PATIENCE, ok};

/// The id of a trunk's first stream for a client: the one before it asks whether sessions can move.
pub const FIRST: u32 = 3;

/// Accepts trunks.
pub struct Peer2 {
    pub listener: TcpListener,
    pub address: SocketAddr,
}

impl Peer2 {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        Self { listener, address }
    }

    pub fn accept(&self) -> Trunk2 {
        let (stream, _) = self.listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        Trunk2::greeted(stream)
    }

    /// Starts the program with so many trunks to here, and takes them.
    pub fn start_ecm(&self, trunks: usize, more: &str) -> (Ecm, Vec<Trunk2>) {
        let mut ecm = self.start_ecm_only(trunks, more);
        let accepted = (0..trunks).map(|_| self.accept()).collect();
        for _ in 0..trunks {
            ecm.wait_for_log("is up");
        }
        (ecm, accepted)
    }

    pub fn start_ecm_only(&self, trunks: usize, more: &str) -> Ecm {
        Ecm::start_with_config(&config(&self.address.to_string(), trunks, more))
    }
}

/// A configuration with one listener for HTTP, and more.
pub fn config(trunk: &str, trunks: usize, more: &str) -> String {
    format!(
        "[log]\nlevel = \"debug\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n[trunk]\n\
         address = \"{trunk}\"\ntrunks = {trunks}\nbackoff_min = \"10ms\"\n\
         backoff_max = \"50ms\"\n{more}"
    )
}

/// What is read and written without blocking for longer than asked.
pub trait Transport: Read + Write + Send {
    fn set_patience(&self, patience: Duration);
    fn close(&mut self);
}

impl Transport for TcpStream {
    fn set_patience(&self, patience: Duration) {
        self.set_read_timeout(Some(patience)).unwrap();
    }
    fn close(&mut self) {
        let _ = self.shutdown(Shutdown::Both);
    }
}

impl Transport for std::os::unix::net::UnixStream {
    fn set_patience(&self, patience: Duration) {
        self.set_read_timeout(Some(patience)).unwrap();
    }
    fn close(&mut self) {
        let _ = self.shutdown(Shutdown::Both);
    }
}

/// What the ECM did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    /// A stream with its PROXY header; what follows it is [`Data`](Self::Data).
    Opened(u32, Box<Header>),
    Data(u32, Vec<u8>),
    Finished(u32),
    Reset(u32),
    GoAway,
    /// The ECM has ended the trunk.
    End,
}

impl Seen {
    fn stream(&self) -> Option<u32> {
        match self {
            Self::Opened(id, _) | Self::Data(id, _) | Self::Finished(id) | Self::Reset(id) => {
                Some(*id)
            }
            Self::GoAway | Self::End => None,
        }
    }
}

/// ejabberd's end of a trunk.
pub struct Trunk2 {
    pub transport: Box<dyn Transport>,
    pub session: Session,
    started: Instant,
    buffer: Vec<u8>,
    seen: VecDeque<Seen>,
    /// The first bytes of streams whose header is not whole.
    heads: HashMap<u32, Vec<u8>>,
    /// The streams that ask whether sessions can move, which tests don't see.
    asking: HashSet<u32>,
    /// What they are told; without it they are reset.
    pub version: Option<&'static str>,
    /// Whether data is consumed as it comes.
    pub consumes: bool,
}

impl Trunk2 {
    pub fn new(transport: impl Transport + 'static, config: Config) -> Self {
        Self {
            transport: Box::new(transport),
            session: Session::server(config, 0),
            started: Instant::now(),
            buffer: vec![0; 256 * 1024],
            seen: VecDeque::new(),
            heads: HashMap::new(),
            asking: HashSet::new(),
            version: None,
            consumes: true,
        }
    }

    /// A trunk that is up for the ECM: its first ping is answered.
    pub fn greeted(transport: impl Transport + 'static) -> Self {
        let mut trunk = Self::new(transport, Config::default());
        trunk.read(PATIENCE);
        trunk
    }

    /// The next thing that the ECM does.
    #[track_caller]
    pub fn next(&mut self) -> Seen {
        self.next_within(PATIENCE)
            .unwrap_or_else(|| panic!("the ECM did nothing for {PATIENCE:?}"))
    }

    /// The next thing that the ECM does in a time.
    pub fn next_within(&mut self, patience: Duration) -> Option<Seen> {
        let until = Instant::now() + patience;
        loop {
            if let Some(seen) = self.seen.pop_front() {
                return Some(seen);
            }
            let left = until.checked_duration_since(Instant::now())?;
            if left.is_zero() {
                return None;
            }
            self.read(left);
        }
    }

    /// What the ECM does next on a stream; what it does on others is kept.
    #[track_caller]
    pub fn next_on(&mut self, stream: u32) -> Seen {
        let mut others = VecDeque::new();
        let found = loop {
            let seen = self.next();
            if seen.stream() == Some(stream) || seen == Seen::End {
                break seen;
            }
            others.push_back(seen);
        };
        others.append(&mut self.seen);
        self.seen = others;
        found
    }

    /// Reads and writes once, for so long at the most.
    pub fn read(&mut self, patience: Duration) {
        self.flush();
        self.transport.set_patience(patience);
        let length = match self.transport.read(&mut self.buffer) {
            Ok(0) => {
                self.seen.push_back(Seen::End);
                return;
            }
            Ok(length) => length,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return;
            }
            Err(_reset) => {
                self.seen.push_back(Seen::End);
                return;
            }
        };
        let bytes = std::mem::take(&mut self.buffer);
        self.feed(&bytes[..length])
            .expect("the ECM speaks version 2");
        self.buffer = bytes;
        self.flush();
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<(), SessionError> {
        let mut events = Vec::new();
        let result = self
            .session
            .receive(bytes, &mut |event: Event<'_>| match event {
                Event::Data { id, bytes, .. } => events.push(Seen::Data(id.get(), bytes.to_vec())),
                Event::Finished { id, .. } => events.push(Seen::Finished(id.get())),
                Event::Reset { id, .. } => events.push(Seen::Reset(id.get())),
                Event::GoAway => events.push(Seen::GoAway),
                Event::Opened { id } => events.push(Seen::Data(id.get(), Vec::new())),
                Event::Writable { .. } | Event::Window { .. } | Event::Closed { .. } => {}
            });
        for event in events {
            self.saw(event);
        }
        result
    }

    fn saw(&mut self, event: Seen) {
        if event.stream().is_some_and(|id| self.asking.contains(&id)) {
            return;
        }
        let Seen::Data(id, bytes) = event else {
            self.seen.push_back(event);
            return;
        };
        if bytes.is_empty() {
            self.heads.insert(id, Vec::new());
            return;
        }
        if self.consumes {
            let _ = self.session.consumed(StreamId::new(id), bytes.len());
        }
        let Some(head) = self.heads.get_mut(&id) else {
            self.seen.push_back(Seen::Data(id, bytes));
            return;
        };
        head.extend_from_slice(&bytes);
        if let Some((header, length)) = proxy::read(head).expect("a PROXY header comes first") {
            let rest = head.split_off(length);
            self.heads.remove(&id);
            if header.takeover.as_ref().is_some_and(Bytes::is_empty) {
                self.answer_question(id);
                return;
            }
            self.seen.push_back(Seen::Opened(id, Box::new(header)));
            if !rest.is_empty() {
                self.seen.push_back(Seen::Data(id, rest));
            }
        }
    }

    /// Whether it was asked whether sessions can move.
    pub fn was_asked(&self) -> bool {
        !self.asking.is_empty()
    }

    fn answer_question(&mut self, id: u32) {
        self.asking.insert(id);
        let stream = StreamId::new(id);
        match self.version {
            Some(version) => {
                let mut answer = Vec::new();
                put_control(&mut answer, &Control::Version(version)).unwrap();
                let _ = self.session.write(stream, &answer);
                let _ = self.session.finish(stream);
            }
            None => self.session.reset(stream).unwrap(),
        }
    }

    /// Writes what the session has to say.
    pub fn flush(&mut self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap();
        let _ = self.session.tick(now);
        let mut out = Vec::new();
        self.session
            .take_output(usize::MAX, &mut out, &mut |_: Event<'_>| {});
        // It may have left.
        let _ = self.transport.write_all(&out);
    }

    /// The next thing, which has to be a new stream with its first bytes.
    #[track_caller]
    pub fn opened(&mut self) -> (u32, Header, String) {
        match self.next() {
            Seen::Opened(id, header) => match self.next_on(id) {
                Seen::Data(_, bytes) => (id, *header, String::from_utf8(bytes).unwrap()),
                other => panic!("expected the first bytes of stream {id}, got {other:?}"),
            },
            other => panic!("expected a new stream, got {other:?}"),
        }
    }

    /// The next thing, which has to be bytes on a stream.
    #[track_caller]
    pub fn data(&mut self) -> (u32, String) {
        match self.next() {
            Seen::Data(id, bytes) => (id, String::from_utf8(bytes).unwrap()),
            other => panic!("expected data, got {other:?}"),
        }
    }

    /// Sends all of this; the stream's window and queue have to have room.
    #[track_caller]
    pub fn send(&mut self, stream: u32, bytes: &[u8]) {
        let written = self.session.write(StreamId::new(stream), bytes).unwrap();
        assert_eq!(written, Written::Taken);
        self.flush();
    }

    /// Answers with 200 and this body.
    #[track_caller]
    pub fn answer(&mut self, stream: u32, body: &str) {
        self.send(stream, ok(body).as_bytes());
    }

    pub fn finish(&mut self, stream: u32) {
        let _ = self.session.finish(StreamId::new(stream)).unwrap();
        self.flush();
    }

    pub fn reset(&mut self, stream: u32) {
        self.session.reset(StreamId::new(stream)).unwrap();
        self.flush();
    }

    pub fn go_away(&mut self) {
        self.session.go_away(GoAwayCode::Normal);
        self.flush();
    }
}

impl Drop for Trunk2 {
    fn drop(&mut self) {
        self.transport.close();
    }
}

/// The client's address in a header.
#[track_caller]
pub fn source(header: &Header) -> SocketAddr {
    match &header.addresses {
        Addresses::Inet { source, .. } => *source,
        other => panic!("no addresses: {other:?}"),
    }
}

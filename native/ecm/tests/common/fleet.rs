//! Several ejabberd nodes, each in a thread of its own, and clients that log in to whichever.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use megaphone_trunk::v2::{Config, GoAwayCode, StreamId};
use megaphone_xmpp::framing::put_message;

use super::metrics::METRICS;
use super::v2::{Seen, Trunk2};
use super::{Client, Ecm, PATIENCE, ok};

/// What ejabberd says to a client that logs in, up to the first stanza.
const LOGIN: [&str; 3] = [
    "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' id='1' from='a' version='1.0'/>",
    "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
    "<iq xmlns='jabber:client' type='result' id='bind'/>",
];

/// How long a node looks for what one trunk has before it looks at the next.
const SLICE: Duration = Duration::from_millis(2);

/// A node that answers all that comes. Dropping it ends it with its trunks.
pub struct TestNode {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    ends: AtomicBool,
    /// It reads nothing, so it answers no ping either.
    stopped: AtomicBool,
    /// It takes sessions and says nothing on them.
    mute: AtomicBool,
    leaves: AtomicBool,
    /// All sessions that were ever opened, and all requests.
    sessions: AtomicUsize,
    requests: AtomicUsize,
    trunks: AtomicUsize,
}

impl TestNode {
    pub fn start() -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap())
    }

    pub fn start_at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::<Shared>::default();
        let serving = Arc::clone(&shared);
        let thread = std::thread::spawn(move || serve(&listener, &serving));
        Self {
            address,
            shared,
            thread: Some(thread),
        }
    }

    pub fn sessions(&self) -> usize {
        self.shared.sessions.load(SeqCst)
    }

    pub fn requests(&self) -> usize {
        self.shared.requests.load(SeqCst)
    }

    pub fn trunks(&self) -> usize {
        self.shared.trunks.load(SeqCst)
    }

    /// As SIGSTOP does.
    pub fn stop(&self) {
        self.shared.stopped.store(true, SeqCst);
    }

    pub fn go_on(&self) {
        self.shared.stopped.store(false, SeqCst);
        self.shared.mute.store(false, SeqCst);
    }

    /// It answers pings and no login.
    pub fn mute(&self) {
        self.shared.mute.store(true, SeqCst);
    }

    /// It tells all its trunks to go away, and takes no others.
    pub fn leave(&self) {
        self.shared.leaves.store(true, SeqCst);
    }
}

impl Drop for TestNode {
    fn drop(&mut self) {
        self.shared.ends.store(true, SeqCst);
        self.shared.stopped.store(false, SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(listener: &TcpListener, shared: &Shared) {
    let mut trunks: Vec<Trunk2> = Vec::new();
    let mut kinds: Vec<HashMap<u32, Stream>> = Vec::new();
    let mut left = false;
    while !shared.ends.load(SeqCst) {
        if shared.stopped.load(SeqCst) {
            std::thread::sleep(SLICE);
            continue;
        }
        if shared.leaves.load(SeqCst) && !left {
            left = true;
            for trunk in &mut trunks {
                trunk.session.go_away(GoAwayCode::Normal);
                trunk.flush();
            }
        }
        match listener.accept() {
            Ok((stream, _)) if !left => {
                stream.set_nonblocking(false).unwrap();
                stream.set_nodelay(true).unwrap();
                let config = Config {
                    high_watermark: 1 << 30,
                    ..Config::default()
                };
                trunks.push(Trunk2::new(stream, config));
                kinds.push(HashMap::new());
            }
            Ok(_) => {}
            Err(_) if trunks.is_empty() => std::thread::sleep(SLICE),
            Err(_) => {}
        }
        let mut ended = Vec::new();
        for (place, trunk) in trunks.iter_mut().enumerate() {
            while let Some(seen) = trunk.next_within(SLICE) {
                if seen == Seen::End {
                    ended.push(place);
                    break;
                }
                answer(trunk, &mut kinds[place], seen, shared);
            }
        }
        for place in ended.into_iter().rev() {
            trunks.remove(place);
            kinds.remove(place);
        }
        shared.trunks.store(trunks.len(), SeqCst);
    }
}

/// What a stream waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    Request,
    /// A session before its first document.
    Opening,
    Session,
}

fn answer(trunk: &mut Trunk2, streams: &mut HashMap<u32, Stream>, seen: Seen, shared: &Shared) {
    match seen {
        Seen::Opened(id, header) => {
            let stream = match header.alpn.as_deref() {
                Some(b"xmpp-framing") => Stream::Opening,
                _ => Stream::Request,
            };
            streams.insert(id, stream);
        }
        Seen::Data(id, _) => match streams.get(&id) {
            Some(Stream::Request) => {
                shared.requests.fetch_add(1, SeqCst);
                let _ = trunk
                    .session
                    .write(StreamId::new(id), ok("here").as_bytes());
            }
            Some(Stream::Opening) => {
                streams.insert(id, Stream::Session);
                shared.sessions.fetch_add(1, SeqCst);
                if !shared.mute.load(SeqCst) {
                    let mut out = Vec::new();
                    for document in LOGIN {
                        put_message(&mut out, document.as_bytes()).unwrap();
                    }
                    let _ = trunk.session.write(StreamId::new(id), &out);
                }
            }
            // That the client is gone: the session ends.
            Some(Stream::Session) | None => {
                let _ = trunk.session.finish(StreamId::new(id));
            }
        },
        Seen::Finished(id) => {
            let _ = trunk.session.finish(StreamId::new(id));
        }
        Seen::Reset(_) | Seen::GoAway | Seen::End => {}
    }
    trunk.flush();
}

/// Starts the program with these nodes, called a, b, c ..., each with more of its table.
pub fn start(nodes: &[&TestNode], tables: &[&str], more: &str) -> Ecm {
    let mut config = String::from(
        "[log]\nlevel = \"debug\"\n[trunk]\ntrunks = 2\nbackoff_min = \"10ms\"\nbackoff_max = \"50ms\"\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\nkind = \"xmpp\"\nstarttls = \"off\"\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\n",
    );
    for (place, node) in nodes.iter().enumerate() {
        let (name, table) = (name(place), tables.get(place).unwrap_or(&""));
        let address = node.address;
        config.push_str(&format!(
            "[[node]]\naddress = \"{address}\"\nname = \"{name}\"\n{table}"
        ));
    }
    config.push_str(METRICS);
    config.push_str(more);
    let mut ecm = Ecm::start_with_config(&config);
    for _ in 0..2 * nodes.len() {
        ecm.wait_for_log("is up");
    }
    ecm
}

/// What a node is called.
pub fn name(place: usize) -> &'static str {
    ["a", "b", "c", "d"][place]
}

/// So many clients that are online.
#[track_caller]
pub fn log_in(ecm: &Ecm, clients: usize) -> Vec<Client> {
    (0..clients).map(|_| log_in_one(ecm)).collect()
}

#[track_caller]
pub fn log_in_one(ecm: &Ecm) -> Client {
    let mut client = begin(ecm);
    client.until("id='bind'/>");
    client
}

/// A client that has opened its stream.
pub fn begin(ecm: &Ecm) -> Client {
    let mut client = ecm.client();
    client.send(
        "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' to='a' \
         version='1.0'>",
    );
    client
}

/// Waits until something holds.
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < until, "{what} does not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}

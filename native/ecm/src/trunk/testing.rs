//! A trunk without a socket, for tests: ejabberd's end of it is in the same process.

#[path = "../../tests/common/said.rs"]
#[allow(dead_code)]
mod said;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use megaphone_trunk::proxy::{self, Header};
use megaphone_trunk::v2::{Config, Event, GoAwayCode, Session, StreamId, Written};
use megaphone_xmpp::framing::Control;

pub use self::said::{Said, documents, gone};
use super::budget::OutputBudget;
use super::leaving::{Goal, Leaving};
use super::link::Link;
use super::{Trunks, v2};
use crate::backlog::Backlogs;
use crate::config::LimitsConfig;

/// ejabberd's end of a trunk that nothing has to be waited for: [`exchange`](Self::exchange) carries
/// what either side has said.
pub struct Ejabberd {
    link: Arc<v2::Multiplexer>,
    session: Session,
    streams: HashMap<u32, Inbox>,
    opened: Vec<u32>,
}

/// Far longer than anything takes that works.
const PATIENCE: Duration = Duration::from_secs(20);

/// What came on a stream and was not looked at.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Inbox {
    pub bytes: Vec<u8>,
    pub finished: bool,
    pub reset: bool,
}

impl Ejabberd {
    /// One more trunk, and its other end.
    pub fn add(trunks: &Trunks) -> Self {
        let budget = Arc::new(OutputBudget::new(&LimitsConfig::default()));
        let backlogs = Arc::new(Backlogs::new(1 << 30));
        let usage = Arc::clone(trunks.usage());
        let link = Arc::new(v2::Multiplexer::new(
            budget,
            backlogs,
            usage,
            Duration::from_secs(5),
        ));
        trunks.add(Link::V2(Arc::clone(&link)));
        Self {
            link,
            session: server(),
            streams: HashMap::new(),
            opened: Vec::new(),
        }
    }

    /// It has said which sessions can come to its trunk.
    pub fn says_version(&self, version: &str) {
        self.link.set_version(version.to_owned());
    }

    /// Its trunk's sessions are to leave.
    pub fn is_left(&self) -> Arc<Leaving> {
        let places = Arc::new(tokio::sync::Semaphore::new(10));
        let leaving = Arc::new(Leaving::new(
            &places,
            Arc::default(),
            Goal::Anywhere,
            u64::MAX,
            1,
        ));
        self.link.set_leaving(Some(&leaving));
        leaving
    }

    /// It takes no more connections.
    pub fn go_away(&mut self) {
        self.session.go_away(GoAwayCode::Normal);
        self.exchange();
    }

    /// Says something of a move on a session's stream.
    pub fn say(&mut self, id: u32, control: &Control<'_>) {
        let mut message = Vec::new();
        megaphone_xmpp::framing::put_control(&mut message, control).unwrap();
        self.send(id, &message);
    }

    /// What was said of a move on a session's stream since it was last asked for, and nothing else.
    pub fn controls(&mut self, id: u32) -> Vec<String> {
        let bytes = self.received(id).bytes;
        let mut rest = &bytes[..];
        let mut controls = Vec::new();
        while let Some((control, length)) = megaphone_xmpp::framing::read_control(rest).unwrap() {
            controls.push(format!("{control:?}"));
            rest = &rest[length..];
        }
        assert!(rest.is_empty(), "a part of a message: {rest:?}");
        controls
    }

    /// What was said first of a move on a session's stream; the rest is not looked at.
    pub fn first_control(&mut self, id: u32) -> String {
        self.exchange();
        let bytes = &mut self.streams.get_mut(&id).unwrap().bytes;
        let read = megaphone_xmpp::framing::read_control(bytes).unwrap();
        let (control, length) = read.expect("a control message");
        let control = format!("{control:?}");
        bytes.drain(..length);
        control
    }

    /// Carries what waits in both directions. What a client sent is consumed at once.
    pub fn exchange(&mut self) {
        self.carry(|session, id, length| {
            let _ = session.consumed(id, length);
        });
    }

    /// As [`exchange`](Self::exchange), but what clients sent stays unconsumed: their windows shrink.
    pub fn exchange_unconsumed(&mut self) {
        self.carry(|_, _, _| {});
    }

    /// The next stream that was opened, with its header.
    #[track_caller]
    pub fn opened(&mut self) -> (u32, Header) {
        self.exchange();
        assert!(
            !self.opened.is_empty(),
            "expected a new stream, there is none"
        );
        let id = self.opened.remove(0);
        let stream = self.streams.get_mut(&id).unwrap();
        let (header, length) = proxy::read(&stream.bytes).unwrap().unwrap();
        stream.bytes.drain(..length);
        (id, header)
    }

    /// Whether a stream was opened that nobody looked at.
    pub fn has_opened(&mut self) -> bool {
        self.exchange();
        !self.opened.is_empty()
    }

    /// What has come on a stream since it was last asked for.
    pub fn received(&mut self, id: u32) -> Inbox {
        self.exchange();
        let stream = self.streams.get_mut(&id).unwrap();
        Inbox {
            bytes: std::mem::take(&mut stream.bytes),
            ..stream.clone()
        }
    }

    /// The documents that have come on a session's stream since it was last asked for.
    pub fn documents(&mut self, id: u32) -> Vec<String> {
        let document = |said| match said {
            Said::Document(document) => document,
            other => panic!("expected a document on {id}, got {other:?}"),
        };
        self.said(id).into_iter().map(document).collect()
    }

    /// The same with those among them that were given back.
    pub fn said(&mut self, id: u32) -> Vec<Said> {
        let mut bytes = self.received(id).bytes;
        let said = std::iter::from_fn(|| Said::read(&mut bytes)).collect();
        assert!(bytes.is_empty(), "a part of a message: {bytes:?}");
        said
    }

    /// Everything that is said on a session's stream from here to its FIN. ejabberd answers by its own when it
    /// hears that the client is gone.
    pub async fn said_to_the_end(&mut self, id: u32) -> Vec<Said> {
        let mut all = Vec::new();
        let listen = async {
            loop {
                let said = self.said(id);
                if said.contains(&Said::GivenBack(String::new())) {
                    self.finish(id);
                }
                all.extend(said);
                let stream = self.received(id);
                assert!(!stream.reset, "the end overtakes what was said");
                if stream.finished {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let ended = tokio::time::timeout(PATIENCE, listen).await.is_ok();
        assert!(ended, "no FIN came, but {all:?}");
        all
    }

    /// Whether nothing is left of a stream, on either side.
    pub fn is_gone(&mut self, id: u32) -> bool {
        self.exchange();
        let is_open = self.session.streams().any(|(open, _)| open.get() == id);
        !is_open && self.link.stream_count() == 0
    }

    /// Sends bytes on a stream; what its window does not take waits here.
    pub fn send(&mut self, id: u32, bytes: &[u8]) {
        let written = self.session.write(StreamId::new(id), bytes).unwrap();
        assert_eq!(written, Written::Taken);
        self.exchange();
    }

    /// Sends a document on a session's stream.
    pub fn send_document(&mut self, id: u32, document: &str) {
        let mut message = Vec::new();
        megaphone_xmpp::framing::put_message(&mut message, document.as_bytes()).unwrap();
        self.send(id, &message);
    }

    /// How many bytes have come on a stream and were not looked at.
    pub fn unread(&self, id: u32) -> usize {
        self.streams.get(&id).map_or(0, |stream| stream.bytes.len())
    }

    /// How many bytes wait here for a stream's window.
    pub fn queued(&mut self, id: u32) -> usize {
        self.session.queued(StreamId::new(id))
    }

    /// The unread bytes of a stream are consumed, after [`exchange_unconsumed`](Self::exchange_unconsumed).
    pub fn consume(&mut self, id: u32, length: usize) {
        let _ = self.session.consumed(StreamId::new(id), length);
        self.exchange();
    }

    /// Ends a stream in order.
    pub fn finish(&mut self, id: u32) {
        let _ = self.session.finish(StreamId::new(id));
        self.exchange();
    }

    /// Resets a stream.
    pub fn reset(&mut self, id: u32) {
        self.session.reset(StreamId::new(id)).unwrap();
        self.exchange();
    }

    /// The trunk is cut.
    pub fn cut(&mut self) {
        self.link.lose();
        self.session = server();
    }

    fn carry(&mut self, mut took: impl FnMut(&mut Session, StreamId, usize)) {
        loop {
            let mut there = Vec::new();
            self.link.take_output(&mut there);
            let mut events = Vec::new();
            self.session
                .receive(&there, &mut |event: Event<'_>| match event {
                    Event::Opened { id } => events.push((id, None)),
                    Event::Data { id, bytes, .. } => events.push((id, Some(bytes.to_vec()))),
                    Event::Finished { id, .. } => {
                        self.streams.entry(id.get()).or_default().finished = true;
                    }
                    Event::Reset { id, .. } => {
                        self.streams.entry(id.get()).or_default().reset = true;
                    }
                    _ => {}
                })
                .unwrap();
            for (id, bytes) in events {
                let stream = self.streams.entry(id.get()).or_default();
                match bytes {
                    None => self.opened.push(id.get()),
                    Some(bytes) => {
                        stream.bytes.extend_from_slice(&bytes);
                        took(&mut self.session, id, bytes.len());
                    }
                }
            }
            let mut back = Vec::new();
            self.session
                .take_output(usize::MAX, &mut back, &mut |_: Event<'_>| {});
            self.link.receive(&back).unwrap();
            if there.is_empty() && back.is_empty() {
                return;
            }
        }
    }
}

/// One that takes whatever a test writes.
fn server() -> Session {
    let config = Config {
        high_watermark: 1 << 30,
        ..Config::default()
    };
    Session::server(config, 0)
}

//! A session's requests by their ids, from the first whose answer is kept to the last that has come.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use megaphone_xmpp::Open;
use megaphone_xmpp::bosh::{Request, Type};

use super::answer::Answer;
use crate::session::Documents;

/// The most answers that are kept, whatever the client or its connections do.
const KEPT: usize = 16;

/// A request's contents, kept while a request before it is missing.
#[derive(Debug)]
pub struct Contents {
    /// The key, and the first one of a new sequence.
    pub key: Option<Box<str>>,
    /// See [`key`](Self::key).
    pub newkey: Option<Box<str>>,
    /// The highest answer that the client has.
    pub ack: Option<u64>,
    /// What the client wants of the session.
    pub wish: Wish,
    /// Documents for ejabberd, an `<open/>` first if the stream is to restart.
    pub documents: Documents,
}

/// What a client wants of its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// What comes from ejabberd.
    Output,
    /// A new stream in the same session.
    Restart,
    /// To be silent for this many seconds.
    Pause(u32),
    /// Its end.
    Terminate,
}

/// One request.
#[derive(Debug)]
pub struct Entry {
    /// Its id.
    pub rid: u64,
    /// Its key, which a repetition has to have too.
    key: Option<Box<str>>,
    /// How many connections wait for its answer, or have still to fetch it.
    holders: u16,
    /// When it came; once it is answered, when that was.
    pub since: Instant,
    /// How far it has come.
    pub state: State,
}

/// How far a request has come.
#[derive(Debug)]
pub enum State {
    /// A request before it is missing.
    Early(Box<Contents>),
    /// It was taken, and waits for its answer.
    Held(Reply),
    /// It was answered, and nobody has fetched the answer.
    Fresh(Box<Fresh>),
    /// It was answered.
    Answered(Answer),
}

/// An answer that has documents of ejabberd's, which nobody has.
#[derive(Debug)]
pub struct Fresh {
    answer: Answer,
    documents: Vec<Bytes>,
}

/// When a request is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reply {
    /// When there is something to say, or its time is up.
    WithOutput,
    /// At once. If `missed` is a request's id, the client seems to miss the answer to that one.
    AtOnce {
        /// See above.
        missed: Option<u64>,
    },
    /// At once, without a payload: the client pauses.
    Pause,
    /// At once: it is the session's last.
    Terminate,
}

/// The requests, in order.
#[derive(Debug)]
pub struct Requests {
    entries: VecDeque<Entry>,
    /// The id of the last one that was taken.
    taken: u64,
}

impl Entry {
    /// Whether a connection waits for the answer.
    pub const fn is_attended(&self) -> bool {
        self.holders > 0
    }

    /// How it waits for its answer, if it does.
    pub const fn reply(&self) -> Option<Reply> {
        match self.state {
            State::Held(reply) => Some(reply),
            State::Early(_) | State::Fresh(_) | State::Answered(_) => None,
        }
    }

    /// Whether it has no answer yet.
    pub const fn is_unanswered(&self) -> bool {
        !matches!(self.state, State::Fresh(_) | State::Answered(_))
    }

    /// Whether it is a repetition that has the same key.
    pub fn has_key(&self, key: Option<&str>) -> bool {
        self.key.as_deref() == key
    }

    /// Another connection wants the answer.
    pub fn repeat(&mut self, now: Instant) {
        if self.holders == 0 && self.is_unanswered() {
            self.since = now;
        }
        self.holders = self.holders.saturating_add(1);
    }
}

impl Requests {
    /// Starts with the request that creates the session, which is taken.
    pub fn new(rid: u64, now: Instant) -> Self {
        let mut requests = Self {
            // Two answers that are kept, one request that is held and one that comes: most clients
            // never have more.
            entries: VecDeque::with_capacity(4),
            taken: rid,
        };
        requests.insert(rid, None, State::Held(Reply::WithOutput), now);
        requests
    }

    /// The id of the last request that was taken, with all before it.
    pub const fn taken(&self) -> u64 {
        self.taken
    }

    /// The request of this id.
    pub fn get(&self, rid: u64) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.rid == rid)
    }

    /// The request of this id.
    pub fn get_mut(&mut self, rid: u64) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.rid == rid)
    }

    /// Bytes of memory of the contents of those that came too early. Few clients have some, and a window of
    /// requests is small.
    pub fn early_bytes(&self) -> usize {
        let early = self.entries.iter().map(|entry| match &entry.state {
            State::Early(contents) => contents.documents.bytes(),
            _ => 0,
        });
        early.sum()
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Those that wait for an answer and whose turn has come, in order.
    pub fn held(&self) -> impl Iterator<Item = &Entry> {
        self.iter().filter(|entry| entry.reply().is_some())
    }

    /// A request that came before one that is before it.
    pub fn insert_early(&mut self, rid: u64, contents: Contents, now: Instant) {
        let key = contents.key.clone();
        self.insert(rid, key, State::Early(Box::new(contents)), now);
    }

    /// A request whose answer is known: it is the session's end.
    pub fn insert_answered(&mut self, rid: u64, key: Option<&str>, answer: Answer, now: Instant) {
        self.insert(rid, key.map(Box::from), State::Answered(answer), now);
    }

    /// Takes the next request, if it is there.
    pub fn take_next(&mut self) -> Option<(u64, Contents)> {
        let next = self.taken.checked_add(1)?;
        let entry = self.get_mut(next)?;
        let state = std::mem::replace(&mut entry.state, State::Held(Reply::WithOutput));
        match state {
            State::Early(contents) => {
                self.taken = next;
                Some((next, *contents))
            }
            other => {
                entry.state = other;
                None
            }
        }
    }

    /// Says when the last request that was taken is answered.
    pub fn set_reply(&mut self, reply: Reply) {
        let taken = self.taken;
        if let Some(entry) = self.get_mut(taken) {
            entry.state = State::Held(reply);
        }
    }

    /// Answers a request with these documents.
    pub fn answer(&mut self, rid: u64, answer: Answer, documents: Vec<Bytes>, now: Instant) {
        if let Some(entry) = self.get_mut(rid) {
            entry.state = if documents.is_empty() {
                State::Answered(answer)
            } else {
                State::Fresh(Box::new(Fresh { answer, documents }))
            };
            entry.since = now;
        }
    }

    /// Takes the documents of answers that nobody has fetched and nobody waits for; nobody gets them any
    /// more.
    pub fn take_unfetched(&mut self) -> Vec<Bytes> {
        let mut documents = Vec::new();
        let unheld = self.entries.iter_mut().filter(|entry| entry.holders == 0);
        for entry in unheld {
            if let State::Fresh(fresh) = &mut entry.state {
                documents.append(&mut fresh.documents);
                entry.state = State::Answered(Answer::empty());
            }
        }
        documents
    }

    /// Fetches an answer for one of the connections that want it.
    pub fn fetch(&mut self, rid: u64) -> Option<Answer> {
        let entry = self.get_mut(rid)?;
        let answer = match &mut entry.state {
            State::Answered(answer) => answer.clone(),
            State::Fresh(fresh) => {
                let answer = fresh.answer.clone();
                entry.state = State::Answered(answer.clone());
                answer
            }
            State::Early(_) | State::Held(_) => return None,
        };
        entry.holders = entry.holders.saturating_sub(1);
        Some(answer)
    }

    /// One of the connections that want it no longer does.
    pub fn abandon(&mut self, rid: u64) {
        if let Some(entry) = self.get_mut(rid) {
            entry.holders = entry.holders.saturating_sub(1);
        }
    }

    /// Keeps only this many answers and drops the older ones. One that a connection has still to fetch stays.
    pub fn keep(&mut self, answers: usize) {
        let answers = answers.clamp(1, KEPT);
        let mut kept = self
            .entries
            .iter()
            .filter(|entry| !entry.is_unanswered())
            .count();
        while kept > answers
            && let Some(first) = self.entries.front()
            && !first.is_unanswered()
            && (!first.is_attended() || kept > KEPT)
        {
            self.entries.pop_front();
            kept -= 1;
        }
    }

    /// Drops the answers that the client has.
    pub fn acknowledge(&mut self, rid: u64) {
        self.entries
            .retain(|entry| entry.rid > rid || entry.is_unanswered() || entry.is_attended());
    }

    /// The first answer behind `rid` that was given longer ago than `age`, and its age now.
    pub fn unacknowledged(&self, rid: u64, age: Duration, now: Instant) -> Option<(u64, Duration)> {
        let missed = self.get(rid.checked_add(1)?)?;
        let given = now.saturating_duration_since(missed.since);
        (!missed.is_unanswered() && given >= age).then_some((missed.rid, given))
    }

    fn insert(&mut self, rid: u64, key: Option<Box<str>>, state: State, now: Instant) {
        let place = self.entries.partition_point(|entry| entry.rid < rid);
        let entry = Entry {
            rid,
            key,
            holders: 1,
            since: now,
            state,
        };
        self.entries.insert(place, entry);
    }
}

impl Contents {
    /// The contents of a request in a session with the domain `to`.
    pub fn of(request: &Request<'_>, to: &str) -> Self {
        let owned = |text: &Option<std::borrow::Cow<'_, str>>| text.as_deref().map(Box::from);
        let mut documents = Documents::with_capacity(request.payload.len() + 1);
        if request.restart {
            documents.push(open(request, to));
        }
        for document in &request.payload {
            documents.push(document.to_vec());
        }
        Self {
            key: owned(&request.key),
            newkey: owned(&request.newkey),
            ack: request.ack,
            wish: match (request.kind, request.pause) {
                (Some(Type::Terminate), _) => Wish::Terminate,
                (_, Some(pause)) => Wish::Pause(pause),
                _ if request.restart => Wish::Restart,
                _ => Wish::Output,
            },
            documents,
        }
    }

    /// Whether it only asks for what comes from ejabberd.
    pub fn is_empty(&self) -> bool {
        matches!(self.wish, Wish::Output) && self.documents.is_empty()
    }
}

/// The `<open/>` of the stream that a request asks for.
pub fn open(request: &Request<'_>, to: &str) -> Vec<u8> {
    let open = Open {
        to: Some(request.to.as_deref().unwrap_or(to).into()),
        from: request.from.clone(),
        id: None,
        // A restart is XEP-0206's, and so is the version.
        version: match (&request.xmpp_version, request.restart) {
            (None, true) => Some("1.0".into()),
            (version, _) => version.clone(),
        },
        lang: request.lang.clone(),
    };
    let mut document = Vec::new();
    open.write_document(&mut document);
    document
}

//! A session with a client and an ejabberd that do as they are told, by name of the rule.

mod creation;
mod ending;
mod order;
mod property;
mod shared;
mod size;
mod timing;
mod xmpp;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use bytes::Bytes;
use megaphone_xmpp::Limits;
use megaphone_xmpp::bosh::Request;

use super::answer::{Answer, Status};
use super::parameters::Policy;
use super::secrets::Sid;
use super::session::{Abandoned, BoshSession, Taken};
use super::upstream::Upstream;
use crate::session::{Received, SendError};
use crate::trunk::{End, Sent, TrunkLost};

const POLICY: Policy = Policy {
    max_wait: 60,
    max_hold: 2,
    max_inactivity: 30,
    max_pause: 120,
    min_polling: 2,
};
const HOLD_ONE: &str = "to='a.example' wait='60' hold='1' ver='1.6' xmpp:version='1.0'";
const OPEN: &str =
    "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' id='i1' from='a.example' version='1.0'/>";
const FEATURES: &str = "<stream:features xmlns:stream='http://etherx.jabber.org/streams'/>";
const EMPTY: &str = "<body xmlns='http://jabber.org/protocol/httpbind'/>";

/// ejabberd, as far as a session sees of it.
#[derive(Debug, Default)]
pub struct Ejabberd {
    taken: Vec<String>,
    coming: VecDeque<String>,
    window: Window,
    ended: bool,
}

#[derive(Debug, Default, PartialEq, Eq)]
pub enum Window {
    #[default]
    Open,
    Shut,
}

impl Ejabberd {
    pub fn take(&mut self, document: &[u8]) -> Result<Sent, SendError> {
        if self.ended {
            return Err(TrunkLost.into());
        }
        if self.window == Window::Shut {
            return Ok(Sent::Refused);
        }
        self.taken
            .push(String::from_utf8(document.to_vec()).unwrap());
        Ok(Sent::Sent)
    }

    pub fn next(&mut self) -> Received {
        match self.coming.pop_front() {
            Some(document) => Received::Document(Bytes::from(document)),
            None if self.ended => Received::End(End::Closed),
            None => Received::Nothing,
        }
    }
}

/// A session and those around it. Its first request has the id 100.
struct World {
    session: BoshSession,
    ejabberd: Ejabberd,
    now: Instant,
}

fn body(attributes: &str, payload: &str) -> String {
    format!(
        "<body xmlns='http://jabber.org/protocol/httpbind' xmlns:xmpp='urn:xmpp:xbosh' \
         {attributes}>{payload}</body>"
    )
}

fn create(attributes: &str, payload: &str) -> Result<World, Answer> {
    let body = body(&format!("rid='100' {attributes}"), payload);
    let request = Request::read(body.as_bytes(), &Limits::default()).unwrap();
    let now = Instant::now();
    let session = BoshSession::create(Sid::random().unwrap(), &request, &POLICY, now)?;
    let mut world = World {
        session,
        ejabberd: Ejabberd::default(),
        now,
    };
    world.pump();
    Ok(world)
}

/// A session whose first request was answered with features.
#[track_caller]
fn established(attributes: &str) -> World {
    let mut world = create(attributes, "").unwrap();
    world.says(&[OPEN, FEATURES]);
    assert!(world.answer(100).unwrap().contains("<stream:features"));
    world.ejabberd.taken.clear();
    world
}

impl World {
    fn pump(&mut self) {
        let ejabberd = std::mem::take(&mut self.ejabberd);
        let mut upstream = Upstream::Told(Box::new(ejabberd));
        upstream.pump(&mut self.session, self.now);
        if let Upstream::Told(ejabberd) = upstream {
            self.ejabberd = *ejabberd;
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.pump();
    }

    fn says(&mut self, documents: &[&str]) {
        let documents = documents.iter().map(|document| (*document).to_owned());
        self.ejabberd.coming.extend(documents);
        self.pump();
    }

    /// Sends a request.
    fn request(&mut self, rid: u64, attributes: &str, payload: &str) -> Taken {
        let sid = self.session.sid();
        let body = body(&format!("rid='{rid}' sid='{sid}' {attributes}"), payload);
        let request = Request::read(body.as_bytes(), &Limits::default()).unwrap();
        let taken = self.session.request(&request, self.now);
        self.pump();
        taken
    }

    /// Sends one that has to be held or answered.
    #[track_caller]
    fn ask(&mut self, rid: u64, attributes: &str, payload: &str) {
        assert_eq!(self.request(rid, attributes, payload), Taken::Held);
    }

    /// Sends one that is refused at once, and gives the answer.
    #[track_caller]
    fn refused(&mut self, rid: u64, attributes: &str) -> String {
        match self.request(rid, attributes, "") {
            Taken::Refused(answer) => text(&answer),
            Taken::Held => panic!("expected a refusal of request {rid}"),
        }
    }

    fn fetch(&mut self, rid: u64) -> Option<Answer> {
        self.session.fetch(rid)
    }

    fn answer(&mut self, rid: u64) -> Option<String> {
        self.fetch(rid).map(|answer| text(&answer))
    }

    #[track_caller]
    fn expect(&mut self, rid: u64, expected: &str) {
        let answer = self.answer(rid);
        assert_eq!(answer.as_deref(), Some(expected), "request {rid}");
    }

    #[track_caller]
    fn held(&mut self, rid: u64) {
        assert_eq!(self.answer(rid), None, "request {rid} is held");
    }

    fn taken(&mut self) -> Vec<String> {
        std::mem::take(&mut self.ejabberd.taken)
    }
}

fn text(answer: &Answer) -> String {
    String::from_utf8(answer.body.to_vec()).unwrap()
}

fn message(id: u32) -> String {
    format!("<message xmlns='jabber:client' id='{id}'/>")
}

/// A body with this payload alone.
fn carrying(payload: &str) -> String {
    format!("<body xmlns='http://jabber.org/protocol/httpbind'>{payload}</body>")
}

fn terminated(condition: &str) -> String {
    format!(
        "<body xmlns='http://jabber.org/protocol/httpbind' type='terminate' condition='{condition}'/>"
    )
}

#[track_caller]
fn attribute(body: &str, name: &str) -> Option<String> {
    let root = megaphone_xmpp::xml::Root::new(body.as_bytes()).unwrap();
    root.attribute(name).map(|value| value.into_owned())
}

//! A session with the connections that hold its requests.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::{Context, Wake, Waker};

use megaphone_trunk::proxy::ChannelBindings;
use megaphone_xmpp::framing::Control;

use super::super::shared::{Fetched, Security, SharedSession};
use super::*;
use crate::backlog::Backlogs;
use crate::node::{Nodes, testing};
use crate::session::Session;
use crate::trunk::testing::Ejabberd;
use crate::trunk::{Binding, Content, Opening};

/// A connection that waits.
#[derive(Default)]
struct Waiting(AtomicBool);

impl Wake for Waiting {
    fn wake(self: Arc<Self>) {
        self.0.store(true, SeqCst);
    }
}

impl Waiting {
    fn new() -> (Arc<Self>, Waker) {
        let waiting = Arc::new(Self::default());
        let waker = Waker::from(Arc::clone(&waiting));
        (waiting, waker)
    }

    fn was_woken(&self) -> bool {
        self.0.swap(false, SeqCst)
    }
}

/// A session whose requests 100 and 101 are held, with both connections.
fn two_are_held(hold: u32) -> (Arc<SharedSession>, Ejabberd, u32) {
    let (nodes, ejabberd) = testing::start();
    two_are_held_at(hold, &nodes, ejabberd)
}

fn two_are_held_at(
    hold: u32,
    nodes: &Arc<Nodes>,
    mut ejabberd: Ejabberd,
) -> (Arc<SharedSession>, Ejabberd, u32) {
    let now = Instant::now();
    let sid = Sid::random().unwrap();
    let body = format!(
        "<body xmlns='http://jabber.org/protocol/httpbind' rid='100' to='a' ver='1.6' \
         hold='{hold}' xmlns:xmpp='urn:xmpp:xbosh' xmpp:version='1.0'/>"
    );
    let request = Request::read(body.as_bytes(), &Limits::default()).unwrap();
    let mut session = BoshSession::create(sid, &request, &POLICY, now).unwrap();
    let opening = Opening {
        client: "192.0.2.7:4711".parse().unwrap(),
        server: "192.0.2.1:80".parse().unwrap(),
        host: None,
        content: Content::XmppFraming(Binding::Bosh),
        tls: None,
        bindings: ChannelBindings::default(),
        fields: None,
    };
    let first = session.outgoing().unwrap();
    let login = nodes.begin_login();
    let stream = Session::open(login, &opening, first, 1 << 20).unwrap();
    session.outgoing_taken();
    let backlogs = Arc::new(Backlogs::new(1 << 20));
    let home = crate::bosh::upstream::Home::of(Arc::clone(nodes), &opening);
    let upstream = Upstream::Open(stream, Box::new(home));
    let cell = SharedSession::new(session, upstream, Security::Plain, &backlogs);
    let (id, _) = ejabberd.opened();
    ask(&cell, 101);
    (cell, ejabberd, id)
}

fn ask(cell: &Arc<SharedSession>, rid: u64) {
    let sid = cell.sid();
    let body =
        format!("<body xmlns='http://jabber.org/protocol/httpbind' rid='{rid}' sid='{sid}'/>");
    let request = Request::read(body.as_bytes(), &Limits::default()).unwrap();
    assert_eq!(cell.request(&request, Instant::now()), Taken::Held);
}

fn polls(cell: &SharedSession, rid: u64, waker: &Waker) -> bool {
    cell.poll_answered(rid, &Context::from_waker(waker))
        .is_ready()
}

#[test]
fn ejabberd_wakes_a_connection_that_still_waits() {
    let (cell, mut ejabberd, id) = two_are_held(1);
    let ((_, first), (second, waker)) = (Waiting::new(), Waiting::new());
    assert!(!polls(&cell, 101, &waker));
    // The one that has its answer looks last.
    assert!(polls(&cell, 100, &first));
    ejabberd.send_document(id, "<a/>");
    assert!(second.was_woken());
    assert!(polls(&cell, 101, &waker));
}

#[test]
fn who_takes_what_ejabberd_sent_hands_on_to_the_others() {
    let (cell, mut ejabberd, id) = two_are_held(2);
    let ((first, first_waker), (second, second_waker)) = (Waiting::new(), Waiting::new());
    assert!(!polls(&cell, 100, &first_waker) && !polls(&cell, 101, &second_waker));
    ejabberd.send_document(id, "<a/>");
    // ejabberd woke the second; the answer is the first one's.
    assert!(second.was_woken() && !polls(&cell, 101, &second_waker));
    assert!(first.was_woken() && polls(&cell, 100, &first_waker));
    assert!(matches!(
        cell.fetch(100, Instant::now()),
        Fetched::Answer(_)
    ));
    // Woken by that, it looks again, as a task does.
    assert!(second.was_woken() && !polls(&cell, 101, &second_waker));
    ejabberd.send_document(id, "<b/>");
    assert!(second.was_woken() && polls(&cell, 101, &second_waker));
}

#[test]
fn the_answer_to_a_request_that_was_sent_twice_wakes_both_connections() {
    let (cell, mut ejabberd, id) = two_are_held(1);
    ask(&cell, 101);
    let ((first, first_waker), (second, second_waker)) = (Waiting::new(), Waiting::new());
    assert!(!polls(&cell, 101, &first_waker) && !polls(&cell, 101, &second_waker));
    ejabberd.send_document(id, "<a/>");
    assert!(second.was_woken() && polls(&cell, 101, &second_waker));
    assert!(first.was_woken() && polls(&cell, 101, &first_waker));
    for _ in 0..2 {
        let fetched = cell.fetch(101, Instant::now());
        assert!(matches!(fetched, Fetched::Answer(_)), "{fetched:?}");
    }
}

#[test]
fn when_the_connection_breaks_that_ejabberd_wakes_another_one_takes_its_place() {
    let (cell, mut ejabberd, id) = two_are_held(2);
    let ((first, first_waker), (_, second_waker)) = (Waiting::new(), Waiting::new());
    assert!(!polls(&cell, 100, &first_waker) && !polls(&cell, 101, &second_waker));
    cell.abandon(101, Instant::now());
    assert!(first.was_woken() && !polls(&cell, 100, &first_waker));
    ejabberd.send_document(id, "<a/>");
    assert!(first.was_woken() && polls(&cell, 100, &first_waker));
}

#[tokio::test]
async fn a_session_moves_to_another_trunk_while_its_client_has_no_request_here() {
    async fn others_run() {
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
    }
    let (nodes, old) = testing::start();
    let (cell, mut old, id) = two_are_held_at(1, &nodes, old);
    let mut new = nodes.add_trunk();
    let (waiting, waker) = Waiting::new();
    assert!(!polls(&cell, 101, &waker));
    for document in [
        "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' id='1' from='a' version='1.0'/>",
        "<stream:features xmlns:stream='http://etherx.jabber.org/streams'/>",
        "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
        "<iq xmlns='jabber:client' type='result'/>",
    ] {
        old.send_document(id, document);
    }
    assert!(waiting.was_woken() && polls(&cell, 101, &waker));
    old.received(id);
    // What comes for it waits.
    old.send_document(id, "<a/>");
    others_run().await;
    assert!(!waiting.was_woken());
    for ejabberd in [&old, &new] {
        ejabberd.says_version("v");
    }
    old.is_left();
    old.go_away();
    others_run().await;
    assert_eq!(old.controls(id), ["Mark"]);
    old.say(id, &Control::Token(b"token"));
    others_run().await;
    let (next, header) = new.opened();
    assert_eq!(header.takeover.as_deref(), Some(&b"token"[..]));
    old.say(id, &Control::Moved);
    old.finish(id);
    others_run().await;
    assert_eq!(new.controls(next), ["Go"]);
    assert!(old.is_gone(id));
    // The client gets all in order.
    new.send_document(next, "<b/>");
    ask(&cell, 102);
    assert!(polls(&cell, 102, &waker));
    let Fetched::Answer(answer) = cell.fetch(102, Instant::now()) else {
        panic!("expected an answer");
    };
    let body = String::from_utf8(answer.body.to_vec()).unwrap();
    let both = "<a xmlns='jabber:client'/><b xmlns='jabber:client'/>";
    assert!(body.contains(both), "{body}");
}

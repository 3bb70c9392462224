//! Sessions on a trunk whose other end is here.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::task::{Wake, Waker};

use megaphone_trunk::proxy::Transport;
use megaphone_trunk::v2::INITIAL_WINDOW;
use proptest::prelude::*;

use super::*;
use crate::logins::Logins;
use crate::trunk::testing::{Ejabberd, Stream};
use crate::trunk::{Binding, Content};

const OPEN: &str = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='a'/>";

fn opening() -> Opening {
    Opening {
        client: "192.0.2.7:4711".parse().unwrap(),
        server: "192.0.2.1:80".parse().unwrap(),
        host: None,
        content: Content::XmppFraming(Binding::WebSocket),
        tls: None,
    }
}

fn open(trunks: &Trunks) -> Option<Session> {
    let login = Arc::new(Logins::new(0)).begin();
    Session::open(trunks, &opening(), OPEN.as_bytes(), 1 << 20, login)
}

/// A session that ejabberd knows of, by which id.
fn start() -> (Session, Ejabberd, u32) {
    let (trunks, mut ejabberd) = Ejabberd::start();
    let session = open(&trunks).unwrap();
    let (id, _) = ejabberd.opened();
    assert_eq!(ejabberd.documents(id), [OPEN]);
    (session, ejabberd, id)
}

#[track_caller]
fn document(session: &mut Session) -> String {
    match session.next() {
        Received::Document(document) => String::from_utf8(document.to_vec()).unwrap(),
        other => panic!("expected a document, got {other:?}"),
    }
}

#[test]
fn ejabberd_hears_of_a_session_with_its_first_document() {
    let (trunks, mut ejabberd) = Ejabberd::start();
    let mut session = open(&trunks).unwrap();
    let (id, header) = ejabberd.opened();
    assert_eq!(header.alpn.as_deref(), Some(&b"xmpp-framing"[..]));
    assert_eq!(header.transport, Some(Transport::WebSocket));
    assert_eq!(session.try_send(b"<a/>"), Ok(Sent::Sent));
    let checked = megaphone_xmpp::framing::check(b"<iq/>", &megaphone_xmpp::Limits::default());
    assert_eq!(session.try_send_checked(&checked.unwrap()), Ok(Sent::Sent));
    assert_eq!(
        ejabberd.documents(id),
        [OPEN, "<a/>", "<iq xmlns='jabber:client'/>"]
    );
}

#[test]
fn without_a_trunk_there_is_no_session() {
    let (trunks, mut ejabberd) = Ejabberd::start();
    ejabberd.cut();
    assert!(open(&trunks).is_none());
    let mut other = Ejabberd::add(&trunks);
    let session = open(&trunks);
    assert!(session.is_some() && other.has_opened());
}

#[test]
fn a_document_that_is_none_is_an_error() {
    let (mut session, _ejabberd, _) = start();
    assert_eq!(
        session.try_send(b""),
        Err(SendError::Message(MessageError::Empty))
    );
}

#[test]
fn documents_come_in_order_and_before_the_end() {
    let (mut session, mut ejabberd, id) = start();
    assert_eq!(session.next(), Received::Nothing);
    ejabberd.send_document(id, "<a/>");
    ejabberd.send_document(id, "<b/>");
    ejabberd.finish(id);
    assert_eq!(document(&mut session), "<a/>");
    assert_eq!(document(&mut session), "<b/>");
    assert_eq!(session.next(), Received::End(End::Closed));
    assert!(session.incoming.is_none());
}

#[test]
fn what_ends_a_session_is_told_after_what_came() {
    let (mut session, mut ejabberd, id) = start();
    ejabberd.send_document(id, "<a/>");
    ejabberd.reset(id);
    assert_eq!(document(&mut session), "<a/>");
    assert_eq!(session.next(), Received::End(End::Reset));
    let (mut session, mut ejabberd, id) = start();
    ejabberd.send_document(id, "<a/>");
    ejabberd.cut();
    assert_eq!(session.try_send(b"<b/>"), Err(TrunkLost.into()));
    assert_eq!(document(&mut session), "<a/>");
    assert_eq!(session.next(), Received::End(End::TrunkLost));
}

#[test]
fn a_message_that_is_too_long_ends_the_session() {
    let (mut session, mut ejabberd, id) = start();
    ejabberd.send_document(id, "<a/>");
    ejabberd.send(id, &[0, 0x10, 0, 1, b'<']);
    assert_eq!(document(&mut session), "<a/>");
    assert_eq!(session.next(), Received::End(End::Reset));
}

#[test]
fn the_end_of_the_client_is_a_fin_and_a_break_a_reset() {
    let finished = Stream {
        finished: true,
        ..Stream::default()
    };
    let (session, mut ejabberd, id) = start();
    drop(session);
    assert_eq!(ejabberd.received(id), finished);
    let (session, mut ejabberd, id) = start();
    session.abort();
    assert!(ejabberd.received(id).reset);
}

#[test]
fn a_shut_window_refuses_documents_until_ejabberd_has_taken_some() {
    struct Count(AtomicU32);
    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }
    let (mut session, mut ejabberd, id) = start();
    let stanza = format!("<a>{}</a>", "x".repeat(1000));
    let mut sent = 0;
    while session.try_send(stanza.as_bytes()) == Ok(Sent::Sent) {
        sent += 1;
        ejabberd.exchange_unconsumed();
        assert!(sent < 1000, "the window never shuts");
    }
    let count = Arc::new(Count(AtomicU32::new(0)));
    let waker = Waker::from(Arc::clone(&count));
    let context = Context::from_waker(&waker);
    while session.poll_changed(&context).is_ready() {}
    assert_eq!(count.0.load(Relaxed), 0);
    ejabberd.consume(id, INITIAL_WINDOW as usize - 1000);
    assert_eq!(count.0.load(Relaxed), 1);
    assert!(session.poll_changed(&context).is_ready());
    assert_eq!(session.try_send(b"<last/>"), Ok(Sent::Sent));
    let documents = ejabberd.documents(id);
    assert_eq!(documents.len(), sent + 1);
    assert_eq!(documents.last().unwrap(), "<last/>");
}

#[test]
fn the_window_returns_as_documents_are_taken_and_a_larger_one_comes_through() {
    let (mut session, mut ejabberd, id) = start();
    let window = INITIAL_WINDOW as usize;
    let large = format!("<a>{}</a>", "x".repeat(2 * window));
    ejabberd.send_document(id, "<first/>");
    ejabberd.send_document(id, &large);
    for n in 0..2000 {
        ejabberd.send_document(id, &format!("<b n='{n}'>{}</b>", "x".repeat(200)));
    }
    assert!(ejabberd.queued(id) > window, "nothing waits for the window");
    assert_eq!(document(&mut session), "<first/>");
    let mut next = || loop {
        match session.next() {
            Received::Document(document) => return String::from_utf8(document.to_vec()).unwrap(),
            Received::Nothing => ejabberd.exchange(),
            Received::End(end) => panic!("the session ended: {end:?}"),
        }
    };
    assert!(next() == large, "the large one differs");
    for n in 0..2000 {
        assert!(next().starts_with(&format!("<b n='{n}'>")));
    }
}

/// Each client has one for as long as it is connected.
#[test]
fn an_idle_session_is_small() {
    assert!(size_of::<Session>() <= 88, "{}", size_of::<Session>());
}

proptest! {
    #[test]
    fn how_the_bytes_are_cut_changes_no_document(
        lengths in proptest::collection::vec(0usize..300, 1..20),
        cuts in proptest::collection::vec(1usize..200, 1..20),
    ) {
        let (mut session, mut ejabberd, id) = start();
        let documents: Vec<_> = lengths.iter().map(|n| format!("<a>{}</a>", "x".repeat(*n))).collect();
        let mut bytes = Vec::new();
        for document in &documents {
            put_message(&mut bytes, document.as_bytes()).unwrap();
        }
        let mut received = Vec::new();
        let mut rest = &bytes[..];
        for cut in cuts.iter().cycle() {
            let (piece, left) = rest.split_at((*cut).min(rest.len()));
            ejabberd.send(id, piece);
            while let Received::Document(document) = session.next() {
                received.push(String::from_utf8(document.to_vec()).unwrap());
            }
            rest = left;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(received, documents);
        prop_assert!(session.incoming.is_none());
    }
}

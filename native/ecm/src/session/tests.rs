//! Sessions on a trunk whose other end is here.

use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use bytes::Bytes;
use megaphone_trunk::proxy::Transport;
use megaphone_trunk::v2::INITIAL_WINDOW;
use megaphone_xmpp::framing::{MessageError, put_message};
use proptest::prelude::*;

use super::*;
use crate::backlog::Backlogs;
use crate::node::{Nodes, testing};
use crate::trunk::testing::{Ejabberd, Inbox, Said, documents, gone};
use crate::trunk::{End, TrunkLost};
use crate::wakes::Wakes;

const OPEN: &str = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='a'/>";

fn backlogs() -> Arc<Backlogs> {
    Arc::new(Backlogs::new(1 << 20))
}

fn open(nodes: &Nodes) -> Option<Session> {
    Session::open(
        nodes.begin_login(),
        &testing::opening(),
        OPEN.as_bytes(),
        1 << 20,
    )
}

/// A session that ejabberd knows of, by which id.
fn start() -> (Session, Ejabberd, u32) {
    let (nodes, mut ejabberd) = testing::start();
    let session = open(&nodes).unwrap();
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
    let (nodes, mut ejabberd) = testing::start();
    let mut session = open(&nodes).unwrap();
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
    let (nodes, mut ejabberd) = testing::start();
    ejabberd.cut();
    assert!(open(&nodes).is_none());
    let mut other = nodes.add_trunk();
    let session = open(&nodes);
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
    assert!(session.channel.is_idle());
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
fn a_session_that_is_dropped_ends_with_a_fin() {
    let finished = Inbox {
        finished: true,
        ..Inbox::default()
    };
    let (session, mut ejabberd, id) = start();
    drop(session);
    assert_eq!(ejabberd.received(id), finished);
}

#[test]
fn a_shut_window_refuses_documents_until_ejabberd_has_taken_some() {
    let (mut session, mut ejabberd, id) = start();
    let stanza = format!("<a>{}</a>", "x".repeat(1000));
    let mut sent = 0;
    while session.try_send(stanza.as_bytes()) == Ok(Sent::Sent) {
        sent += 1;
        ejabberd.exchange_unconsumed();
        assert!(sent < 1000, "the window never shuts");
    }
    let (waker, wakes) = Wakes::waker();
    let context = Context::from_waker(&waker);
    while session.poll_changed(&context).is_ready() {}
    assert_eq!(wakes.count(), 0);
    ejabberd.consume(id, INITIAL_WINDOW as usize - 1000);
    assert_eq!(wakes.count(), 1);
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

/// What is left of a client: what it sent, and what it did not get.
fn left(unsent: &[&str], undelivered: &[&'static str]) -> Left {
    let mut documents = Documents::default();
    for document in unsent {
        documents.push(document.as_bytes().to_vec());
    }
    Left {
        unsent: documents,
        undelivered: undelivered.iter().map(|it| Bytes::from(*it)).collect(),
    }
}

/// Lets the tasks go on that can.
async fn others_go_on() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

/// Each row: the cause, whether the client is said to be gone, and whether the stream is closed. Only of a
/// client that sent too much it is not all that it sent.
const CAUSES: [(Cause, bool, bool); 7] = [
    (Cause::Closed, false, false),
    (Cause::Left, true, false),
    (Cause::Silent, true, false),
    (Cause::SlowReader, true, false),
    (Cause::Unreadable, true, false),
    (Cause::Refused, true, true),
    (Cause::Shutdown, true, false),
];

#[tokio::test]
async fn however_a_client_leaves_its_end_is_said_behind_what_it_sent() {
    for (cause, is_gone, is_closed) in CAUSES {
        let (mut session, mut ejabberd, id) = start();
        assert_eq!(session.try_send(b"<sent/>"), Ok(Sent::Sent));
        ejabberd.send_document(id, "<on-its-way/>");
        session.leave(
            cause,
            left(&["<unsent/>"], &["<undelivered/>"]),
            &backlogs(),
        );
        let mut expected = documents(&["<sent/>", "<unsent/>"]);
        if is_gone {
            expected.extend(gone(&["<undelivered/>", "<on-its-way/>"]));
        }
        if is_closed {
            expected.extend(documents(&[
                "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>",
            ]));
        }
        assert_eq!(ejabberd.said_to_the_end(id).await, expected, "{cause:?}");
        ejabberd.finish(id);
        others_go_on().await;
        assert!(ejabberd.is_gone(id), "something is left of it: {cause:?}");
    }
}

#[tokio::test]
async fn what_waits_for_room_comes_before_the_end_when_there_is_some() {
    for (cause, ..) in CAUSES {
        let (mut session, mut ejabberd, id) = start();
        let stanza = format!("<a>{}</a>", "x".repeat(1000));
        let mut sent = 0;
        while session.try_send(stanza.as_bytes()) == Ok(Sent::Sent) {
            sent += 1;
            ejabberd.exchange_unconsumed();
        }
        session.leave(cause, left(&[&stanza, "<last/>"], &[]), &backlogs());
        others_go_on().await;
        ejabberd.exchange_unconsumed();
        assert!(ejabberd.unread(id) <= INITIAL_WINDOW as usize);
        ejabberd.consume(id, INITIAL_WINDOW as usize - 1000);
        others_go_on().await;
        let said = ejabberd.said_to_the_end(id).await;
        let said = said.iter().filter(|said| matches!(said, Said::Document(_)));
        let said: Vec<_> = said.take(sent + 2).collect();
        assert_eq!(said.len(), sent + 2, "{cause:?}");
        assert_eq!(said[sent + 1], &Said::Document("<last/>".to_owned()));
    }
}

#[tokio::test]
async fn ejabberd_does_not_wait_for_a_client_that_is_gone() {
    for (cause, ..) in CAUSES {
        let (session, mut ejabberd, id) = start();
        let body = "x".repeat(10_000);
        for number in 0..400 {
            ejabberd.send_document(id, &format!("<a n='{number}'>{body}</a>"));
        }
        assert!(ejabberd.queued(id) > INITIAL_WINDOW as usize);
        session.leave(cause, Left::default(), &backlogs());
        let said = ejabberd.said_to_the_end(id).await;
        for _ in 0..100 {
            others_go_on().await;
            ejabberd.exchange();
        }
        assert_eq!(ejabberd.queued(id), 0, "{cause:?}");
        // No more than a bound of it comes back, the first ones, in order.
        let back = said.iter().filter_map(|said| match said {
            Said::GivenBack(document) if !document.is_empty() => Some(document.as_str()),
            _ => None,
        });
        let back: Vec<_> = back.collect();
        let bytes: usize = back.iter().map(|document| document.len()).sum();
        assert!(bytes < 1100 * 1024, "{bytes}");
        for (number, document) in back.iter().enumerate() {
            assert!(document.starts_with(&format!("<a n='{number}'>")));
        }
        assert_eq!(back.is_empty(), cause == Cause::Closed);
    }
}

#[tokio::test]
async fn of_a_session_that_ejabberd_ended_or_a_trunk_that_is_lost_nothing_stays() {
    type End = fn(&mut Ejabberd, u32);
    let ends: [End; 3] = [
        |ejabberd, id| ejabberd.finish(id),
        |ejabberd, id| ejabberd.reset(id),
        |ejabberd, _| ejabberd.cut(),
    ];
    for end in ends {
        let (session, mut ejabberd, id) = start();
        end(&mut ejabberd, id);
        session.leave(
            Cause::Left,
            left(&["<unsent/>"], &["<undelivered/>"]),
            &backlogs(),
        );
        others_go_on().await;
        assert!(ejabberd.is_gone(id));
    }
}

/// It counts what it has while ejabberd has no room for it.
#[tokio::test]
async fn who_is_gone_with_too_much_of_all_input_that_waits_goes_for_good() {
    for cause in [Cause::Left, Cause::Flooded] {
        let (mut session, mut ejabberd, id) = start();
        let stanza = format!("<a>{}</a>", "x".repeat(1000));
        while session.try_send(stanza.as_bytes()) == Ok(Sent::Sent) {
            ejabberd.exchange_unconsumed();
        }
        let backlogs = backlogs();
        session.leave(cause, left(&[&stanza, &stanza], &[]), &backlogs);
        others_go_on().await;
        if cause == Cause::Flooded {
            assert_eq!(backlogs.budget().held(), 0);
            ejabberd.consume(id, INITIAL_WINDOW as usize - 1000);
            let said = ejabberd.said_to_the_end(id).await;
            assert_eq!(said.last(), gone(&[]).first());
            continue;
        }
        assert!(backlogs.budget().held() > 2000);
        for holder in backlogs.holders() {
            holder.evict();
        }
        others_go_on().await;
        assert!(ejabberd.received(id).reset);
        assert!(ejabberd.is_gone(id) && backlogs.holders().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn an_ejabberd_that_does_nothing_is_not_waited_for_forever() {
    let (session, mut ejabberd, id) = start();
    session.leave(Cause::Left, Left::default(), &backlogs());
    tokio::time::sleep(Duration::from_secs(290)).await;
    assert!(!ejabberd.received(id).reset);
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert!(ejabberd.received(id).reset);
    assert!(ejabberd.is_gone(id));
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
        prop_assert!(session.channel.is_idle());
    }
}

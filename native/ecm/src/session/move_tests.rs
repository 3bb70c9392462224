//! Sessions that move between two trunks whose other ends are here.

use std::sync::Arc;
use std::task::{Context, Waker};
use std::time::Duration;

use bytes::Bytes;
use megaphone_xmpp::framing::Control;
use tokio::time::advance;

use super::*;
use crate::backlog::Backlogs;
use crate::node::{Nodes, testing};
use crate::peer::Moved;
use crate::trunk::End;
use crate::trunk::testing::{Ejabberd, Said, gone};

const OPEN: &str = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='a'/>";
const SUCCESS: &str = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";
const BOUND: &str = "<iq xmlns='jabber:client' type='result'/>";

/// A session that is online in one trunk and is to leave it, and another trunk where it can go.
struct Scene {
    nodes: Arc<Nodes>,
    session: Session,
    old: Ejabberd,
    id: u32,
    new: Ejabberd,
}

impl Scene {
    fn start() -> Self {
        let (nodes, mut old) = testing::start();
        let mut session = Session::open(
            nodes.begin_login(),
            &testing::opening(),
            OPEN.as_bytes(),
            1 << 20,
        )
        .unwrap();
        let (id, _) = old.opened();
        assert_eq!(old.documents(id), [OPEN]);
        for document in [SUCCESS, BOUND] {
            old.send_document(id, document);
            assert_eq!(next(&mut session), document);
        }
        let new = nodes.add_trunk();
        old.says_version("v");
        new.says_version("v");
        old.go_away();
        old.is_left();
        Self {
            nodes,
            session,
            old,
            id,
            new,
        }
    }

    fn begin(&mut self) -> Moved {
        self.session.move_if_asked(&self.nodes, testing::opening)
    }

    /// The session has said mark, and its token has come.
    fn with_token() -> (Self, u32) {
        let mut scene = Self::start();
        assert_eq!(scene.begin(), Moved::Yes);
        assert_eq!(scene.old.controls(scene.id), ["Mark"]);
        scene.old.say(scene.id, &Control::Token(b"token"));
        scene.nothing();
        let (id, header) = scene.new.opened();
        assert_eq!(header.takeover.as_deref(), Some(&b"token"[..]));
        (scene, id)
    }

    #[track_caller]
    fn nothing(&mut self) {
        assert_eq!(self.session.next(), Received::Nothing);
    }

    /// The old connection's end behind moved.
    fn say_moved(&mut self) {
        self.old.say(self.id, &Control::Moved);
        self.old.finish(self.id);
    }

    #[track_caller]
    fn is_refused(&mut self) {
        assert_eq!(self.session.try_send(b"<late/>"), Ok(Sent::Refused));
    }

    /// Nothing has happened to the session, and it is where it was.
    #[track_caller]
    fn goes_on_where_it_was(&mut self) {
        self.old.send_document(self.id, "<b/>");
        assert_eq!(next(&mut self.session), "<b/>");
        assert_eq!(self.session.try_send(b"<a/>"), Ok(Sent::Sent));
        assert_eq!(self.old.documents(self.id), ["<a/>"]);
    }
}

#[track_caller]
fn next(session: &mut Session) -> String {
    match session.next() {
        Received::Document(document) => String::from_utf8(document.to_vec()).unwrap(),
        other => panic!("expected a document, got {other:?}"),
    }
}

#[tokio::test]
async fn what_the_old_one_said_comes_before_the_new_one_and_the_clients_documents_behind_go() {
    let (mut scene, new) = Scene::with_token();
    scene.is_refused();
    scene.new.send_document(new, "<new/>");
    scene.old.send_document(scene.id, "<old/>");
    assert_eq!(next(&mut scene.session), "<old/>");
    scene.nothing();
    scene.say_moved();
    scene.new.send_document(new, "<newer/>");
    assert_eq!(next(&mut scene.session), "<new/>");
    assert_eq!(next(&mut scene.session), "<newer/>");
    scene.nothing();
    assert_eq!(scene.new.controls(new), ["Go"]);
    assert_eq!(scene.session.try_send(b"<late/>"), Ok(Sent::Sent));
    assert_eq!(scene.new.documents(new), ["<late/>"]);
    assert!(scene.old.is_gone(scene.id));
    assert!(scene.session.moving.is_none());
}

#[tokio::test]
async fn one_whose_client_takes_nothing_moves_too() {
    let (mut scene, new) = Scene::with_token();
    scene.say_moved();
    // As a task does that waits.
    let context = Context::from_waker(Waker::noop());
    while scene.session.poll_changed(&context).is_ready() {}
    assert_eq!(scene.new.controls(new), ["Go"]);
    scene.new.send_document(new, "<new/>");
    assert!(scene.session.poll_changed(&context).is_ready());
    assert_eq!(next(&mut scene.session), "<new/>");
}

#[tokio::test]
async fn one_that_has_not_logged_in_or_that_nobody_asks_stays() {
    let mut scene = Scene::start();
    let mut login = Session::open(
        scene.nodes.begin_login(),
        &testing::opening(),
        OPEN.as_bytes(),
        1 << 20,
    )
    .unwrap();
    let (nodes, asked) = (Arc::clone(&scene.nodes), testing::opening);
    assert_eq!(login.move_if_asked(&nodes, asked), Moved::No);
    assert_eq!(scene.begin(), Moved::Yes);
    assert_eq!(scene.begin(), Moved::No);
}

#[tokio::test]
async fn ejabberd_may_let_it_stay() {
    let mut scene = Scene::start();
    assert_eq!(scene.begin(), Moved::Yes);
    scene.old.send_document(scene.id, "<before/>");
    scene.old.say(scene.id, &Control::Stays("not now"));
    assert_eq!(next(&mut scene.session), "<before/>");
    scene.nothing();
    assert_eq!(scene.old.controls(scene.id), ["Mark"]);
    scene.goes_on_where_it_was();
    // It does not ask again and again.
    assert_eq!(scene.begin(), Moved::No);
}

/// A move may take longer than a round: its client is not to wait again at once.
#[tokio::test]
async fn one_that_could_not_move_waits_for_the_round_after_that() {
    let mut scene = Scene::start();
    let leaving = scene.old.is_left();
    assert_eq!(scene.begin(), Moved::Yes);
    leaving.next_round();
    scene.old.say(scene.id, &Control::Stays("not now"));
    scene.nothing();
    assert_eq!(scene.begin(), Moved::No);
    leaving.next_round();
    assert_eq!(scene.begin(), Moved::Yes);
}

#[tokio::test]
async fn a_token_that_has_no_place_is_given_up() {
    let mut scene = Scene::start();
    assert_eq!(scene.begin(), Moved::Yes);
    scene.new.cut();
    scene.old.say(scene.id, &Control::Token(b"token"));
    scene.nothing();
    assert_eq!(scene.old.controls(scene.id), ["Mark", "Stay"]);
    scene.is_refused();
    scene.old.say(scene.id, &Control::Stays(""));
    scene.nothing();
    scene.goes_on_where_it_was();
}

#[tokio::test]
async fn where_another_version_is_said_it_does_not_go() {
    let mut scene = Scene::start();
    let mut other = scene.nodes.add_trunk();
    other.says_version("w");
    scene.new.cut();
    assert_eq!(scene.begin(), Moved::Yes);
    scene.old.say(scene.id, &Control::Token(b"token"));
    scene.nothing();
    assert_eq!(scene.old.controls(scene.id), ["Mark", "Stay"]);
    assert!(!other.has_opened());
}

#[tokio::test]
async fn a_new_connection_that_has_no_session_is_given_up() {
    for way in ["refused", "ends", "reset", "cut"] {
        let (mut scene, new) = Scene::with_token();
        match way {
            "refused" => scene.new.say(new, &Control::Refused("Token is old")),
            "ends" => scene.new.finish(new),
            "reset" => scene.new.reset(new),
            _ => scene.new.cut(),
        }
        scene.nothing();
        assert_eq!(scene.old.controls(scene.id), ["Stay"], "{way}");
        scene.is_refused();
        scene.old.say(scene.id, &Control::Stays("it was refused"));
        scene.nothing();
        scene.goes_on_where_it_was();
        assert!(scene.new.is_gone(new), "{way}");
    }
}

#[tokio::test]
async fn a_session_that_was_lent_and_came_back_goes_on_and_the_new_connection_is_reset() {
    let (mut scene, new) = Scene::with_token();
    // It has said something, which the client never sees.
    scene.new.send_document(new, "<new/>");
    scene.nothing();
    scene.old.say(scene.id, &Control::Stays("its node is gone"));
    scene.nothing();
    scene.goes_on_where_it_was();
    assert!(scene.new.received(new).reset);
}

#[tokio::test]
async fn one_that_has_moved_in_spite_of_stay_goes_on_where_it_is() {
    let (mut scene, new) = Scene::with_token();
    scene.session.moving.as_mut().unwrap().give_up();
    scene.nothing();
    assert_eq!(scene.old.controls(scene.id), ["Stay"]);
    scene.say_moved();
    scene.nothing();
    assert_eq!(scene.new.controls(new), ["Go"]);
    assert_eq!(scene.session.try_send(b"<a/>"), Ok(Sent::Sent));
    assert_eq!(scene.new.documents(new), ["<a/>"]);
}

#[tokio::test]
async fn an_old_connection_that_breaks_ends_the_session_and_the_new_one_is_reset() {
    for way in ["finish", "reset", "cut"] {
        let (mut scene, new) = Scene::with_token();
        scene.old.send_document(scene.id, "<last/>");
        let end = match way {
            "finish" => {
                scene.old.finish(scene.id);
                End::Closed
            }
            "reset" => {
                scene.old.reset(scene.id);
                End::Reset
            }
            _ => {
                scene.old.cut();
                End::TrunkLost
            }
        };
        if way != "reset" {
            assert_eq!(next(&mut scene.session), "<last/>");
        } else if let Received::Document(_) = scene.session.next() {
            // It was there already.
        }
        assert_eq!(scene.session.next(), Received::End(end), "{way}");
        assert!(scene.new.received(new).reset, "{way}");
    }
}

#[tokio::test]
async fn a_new_connection_that_breaks_behind_moved_ends_the_session() {
    let (mut scene, new) = Scene::with_token();
    scene.new.send_document(new, "<new/>");
    scene.nothing();
    scene.new.cut();
    scene.say_moved();
    assert_eq!(next(&mut scene.session), "<new/>");
    assert_eq!(scene.session.next(), Received::End(End::TrunkLost));
}

#[tokio::test(start_paused = true)]
async fn an_ejabberd_that_says_nothing_is_told_stay_and_waited_for() {
    let mut scene = Scene::start();
    assert_eq!(scene.begin(), Moved::Yes);
    let context = Context::from_waker(Waker::noop());
    while scene.session.poll_changed(&context).is_ready() {}
    advance(Duration::from_secs(16)).await;
    assert!(scene.session.poll_changed(&context).is_ready());
    assert_eq!(scene.old.controls(scene.id), ["Mark", "Stay"]);
    // The token was on its way.
    scene.old.say(scene.id, &Control::Token(b"token"));
    scene.nothing();
    scene.is_refused();
    scene.old.say(scene.id, &Control::Stays(""));
    scene.nothing();
    scene.goes_on_where_it_was();
}

#[tokio::test]
async fn what_has_no_place_in_a_move_ends_the_session() {
    for control in [Control::Moved, Control::Refused("why"), Control::Go] {
        let mut scene = Scene::start();
        assert_eq!(scene.begin(), Moved::Yes);
        scene.old.say(scene.id, &control);
        let end = Received::End(End::Reset);
        assert_eq!(scene.session.next(), end, "{control:?}");
        assert_eq!(scene.session.next(), end, "{control:?}");
    }
    let mut scene = Scene::start();
    scene.old.say(scene.id, &Control::Token(b"token"));
    assert_eq!(scene.session.next(), Received::End(End::Reset));
}

#[tokio::test]
async fn a_client_that_leaves_gives_back_where_the_session_goes_on() {
    let backlogs = Arc::new(Backlogs::new(1 << 20));
    let left = || Left {
        unsent: {
            let mut unsent = Documents::default();
            unsent.push(b"<unsent/>".to_vec());
            unsent
        },
        undelivered: vec![Bytes::from_static(b"<undelivered/>")],
    };
    let said = |more: &[&str]| {
        let unsent = [Said::Document("<unsent/>".to_owned())];
        [&unsent[..], &gone(more)].concat()
    };
    // It moves.
    let (mut scene, new) = Scene::with_token();
    scene.old.send_document(scene.id, "<old/>");
    scene.new.send_document(new, "<new/>");
    scene.session.leave(Cause::Left, left(), &backlogs);
    scene.old.say(scene.id, &Control::Moved);
    scene.old.finish(scene.id);
    wait_for_bytes(&mut scene.new, new).await;
    assert_eq!(scene.new.first_control(new), "Go");
    let all = scene.new.said_to_the_end(new).await;
    assert_eq!(all, said(&["<undelivered/>", "<old/>", "<new/>"]));
    // It stays.
    let (mut scene, new) = Scene::with_token();
    scene.session.leave(Cause::Left, left(), &backlogs);
    scene.old.send_document(scene.id, "<old/>");
    scene.old.say(scene.id, &Control::Stays("back"));
    let all = scene.old.said_to_the_end(scene.id).await;
    assert_eq!(all, said(&["<undelivered/>", "<old/>"]));
    assert!(scene.new.received(new).reset);
}

/// Waits until something has come.
async fn wait_for_bytes(new: &mut Ejabberd, id: u32) {
    let come = async {
        while {
            new.exchange();
            new.unread(id) == 0
        } {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    let come = tokio::time::timeout(Duration::from_secs(20), come).await;
    assert!(come.is_ok(), "nothing comes");
}

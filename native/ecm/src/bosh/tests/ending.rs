//! How sessions end: XEP-0124, sections 13 and 17.

use megaphone_xmpp::bosh::Condition;

use super::*;
use crate::session::Cause;

const CLOSE: &str = "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>";
const ERROR: &str = "<stream:error xmlns:stream='http://etherx.jabber.org/streams'>\
    <conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>";
const BYE: &str = "<body xmlns='http://jabber.org/protocol/httpbind' type='terminate'/>";

fn error_body(before: &str) -> String {
    format!(
        "<body xmlns='http://jabber.org/protocol/httpbind' \
         xmlns:stream='http://etherx.jabber.org/streams' type='terminate' \
         condition='remote-stream-error'>{before}<stream:error>\
         <conflict xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error></body>"
    )
}

#[test]
fn section_13_the_payload_of_a_terminating_request_must_be_forwarded() {
    let mut world = established(HOLD_ONE);
    world.ask(101, "", "");
    world.ask(102, "type='terminate'", &message(1));
    world.expect(101, EMPTY);
    world.expect(102, BYE);
    assert_eq!(world.taken(), [&message(1), CLOSE]);
    assert!(world.session.is_over());
}

#[test]
fn section_13_what_came_before_is_in_the_last_answer() {
    let mut world = established(HOLD_ONE);
    world.says(&[&message(7), ERROR, CLOSE]);
    world.ask(101, "type='terminate'", "");
    assert_eq!(
        world.answer(101).unwrap(),
        BYE.replace("/>", &format!(">{}</body>", message(7)))
    );
}

#[test]
fn section_13_the_answer_comes_when_the_last_words_are_on_their_way() {
    let mut world = established(HOLD_ONE);
    world.ejabberd.window = Window::Shut;
    world.ask(101, "type='terminate'", &message(1));
    world.held(101);
    assert!(!world.session.is_over());
    world.ejabberd.window = Window::Open;
    world.pump();
    world.expect(101, BYE);
    assert_eq!(world.taken(), [&message(1), CLOSE]);
}

#[test]
fn a_terminating_request_that_is_repeated_gets_its_answer_again() {
    let mut world = established(HOLD_ONE);
    world.ask(101, "type='terminate'", "");
    world.expect(101, BYE);
    world.ask(101, "type='terminate'", "");
    world.expect(101, BYE);
    assert_eq!(world.refused(102, ""), terminated("item-not-found"));
    assert_eq!(world.taken(), [CLOSE]);
}

#[test]
fn section_17_2_a_stream_error_is_in_a_remote_stream_error() {
    let mut world = established(HOLD_ONE);
    world.ask(101, "", "");
    world.says(&[&message(7), ERROR, CLOSE]);
    world.expect(101, &error_body(&message(7)));
    assert!(world.session.is_over());
}

#[test]
fn section_17_2_an_end_that_nobody_waits_for_is_in_the_next_answer() {
    let mut world = established(HOLD_ONE);
    world.says(&[ERROR, CLOSE]);
    world.ask(101, "", &message(1));
    world.expect(101, &error_body(""));
    world.ask(101, "", &message(1));
    world.expect(101, &error_body(""));
    assert_eq!(world.refused(102, ""), terminated("item-not-found"));
}

#[test]
fn section_17_2_of_two_requests_the_first_takes_the_error() {
    let mut world = established("to='a' hold='2' ver='1.6' xmpp:version='1.0'");
    world.ask(101, "", "");
    world.ask(102, "", "");
    world.says(&[ERROR]);
    world.expect(101, &error_body(""));
    world.expect(102, &terminated("remote-stream-error"));
}

#[test]
fn section_17_2_a_stream_that_ejabberd_closes_is_a_remote_stream_error() {
    let mut world = established(HOLD_ONE);
    world.ask(101, "", "");
    world.says(&[CLOSE]);
    world.expect(101, &terminated("remote-stream-error"));
}

#[test]
fn section_17_2_a_client_that_is_sent_elsewhere_gets_see_other_uri() {
    let mut world = established(HOLD_ONE);
    world.ask(101, "", "");
    world.says(&[
        "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing' see-other-uri='https://b/?x&amp;y'/>",
    ]);
    world.expect(
        101,
        "<body xmlns='http://jabber.org/protocol/httpbind' type='terminate' \
         condition='see-other-uri'><uri>https://b/?x&amp;y</uri></body>",
    );
}

#[test]
fn section_17_2_a_lost_trunk_is_remote_connection_failed() {
    let mut world = established(HOLD_ONE);
    world.ask(101, "", "");
    world.ejabberd.ended = true;
    world.pump();
    world.expect(101, &terminated("remote-connection-failed"));
    let mut world = established(HOLD_ONE);
    world.ejabberd.ended = true;
    world.ask(101, "", &message(1));
    world.expect(101, &terminated("remote-connection-failed"));
}

#[test]
fn section_17_2_what_came_before_the_trunk_was_lost_is_not() {
    let mut world = established(HOLD_ONE);
    world.ejabberd.coming.push_back(message(7));
    world.ejabberd.ended = true;
    world.ask(101, "", "");
    assert_eq!(
        world.answer(101).unwrap(),
        terminated("remote-connection-failed").replace("/>", &format!(">{}</body>", message(7)))
    );
}

#[test]
fn a_lost_trunk_does_not_hold_up_who_leaves() {
    let mut world = established(HOLD_ONE);
    world.ejabberd.window = Window::Shut;
    world.ask(101, "type='terminate'", &message(1));
    world.ejabberd.ended = true;
    world.pump();
    world.expect(101, BYE);
}

#[test]
fn section_17_2_this_programs_end_is_a_system_shutdown() {
    use megaphone_xmpp::bosh::Condition;
    let mut world = established(HOLD_ONE);
    world.ask(101, "", "");
    world
        .session
        .terminate(Condition::SystemShutdown, Cause::Shutdown, world.now);
    world.expect(101, &terminated("system-shutdown"));
    let mut world = established(HOLD_ONE);
    world
        .session
        .terminate(Condition::SystemShutdown, Cause::Shutdown, world.now);
    world.ask(101, "", &message(1));
    world.expect(101, &terminated("system-shutdown"));
    assert!(world.taken().is_empty());
}

#[test]
fn an_end_before_the_first_answer_has_its_attributes() {
    let mut world = create(HOLD_ONE, "").unwrap();
    world.says(&[OPEN, ERROR, CLOSE]);
    let answer = world.answer(100).unwrap();
    let found = ["type", "condition", "xmpp:version"].map(|name| attribute(&answer, name));
    assert_eq!(found[0].as_deref(), Some("terminate"));
    assert_eq!(found[1].as_deref(), Some("remote-stream-error"));
    assert_eq!(found[2].as_deref(), Some("1.0"));
    assert!(answer.contains("<stream:error>"), "{answer}");
}

#[test]
fn a_request_that_can_not_create_a_session_is_a_bad_request() {
    for attributes in ["type='terminate'", "newkey='short'"] {
        let answer = create(&format!("{HOLD_ONE} {attributes}"), "")
            .err()
            .unwrap();
        assert_eq!(text(&answer), terminated("bad-request"));
    }
}

/// What is left of a session whose client is gone.
fn left(world: &mut World) -> (Cause, Vec<String>, Vec<String>) {
    world.session.expire(world.now);
    left_of_the_end(world)
}

fn left_of_the_end(world: &mut World) -> (Cause, Vec<String>, Vec<String>) {
    let text = |document: &[u8]| String::from_utf8(document.to_vec()).unwrap();
    let (cause, mut left) = world.session.take_left();
    let mut unsent = Vec::new();
    while let Some(document) = left.unsent.first() {
        unsent.push(text(document));
        left.unsent.pop();
    }
    let undelivered = left.undelivered.iter();
    let undelivered = undelivered.map(|document| text(document)).collect();
    (cause, unsent, undelivered)
}

#[test]
fn what_no_connection_has_fetched_is_undelivered_and_what_one_has_is_not() {
    let mut world = established(HOLD_ONE);
    world.ask(101, "", "");
    world.says(&[&message(1)]);
    world.expect(101, &carrying(&message(1)));
    world.ask(102, "", "");
    world.says(&[&message(2), &message(3)]);
    // Its connection breaks before it gets the answer that is there.
    assert_eq!(world.session.abandon(102, world.now), Abandoned::Unattended);
    let undelivered = vec![message(2), message(3)];
    assert_eq!(left(&mut world), (Cause::Silent, vec![], undelivered));
    // Nobody gets it twice.
    assert_eq!(left(&mut world), (Cause::Silent, vec![], vec![]));
    assert_eq!(world.answer(102).unwrap(), EMPTY);
}

#[test]
fn an_answer_that_a_connection_is_about_to_fetch_is_delivered() {
    let mut world = established(HOLD_ONE);
    world.ask(101, "", "");
    world.says(&[&message(1)]);
    assert_eq!(left(&mut world), (Cause::Silent, vec![], vec![]));
    world.expect(101, &carrying(&message(1)));
}

#[test]
fn of_a_stream_that_was_closed_nothing_is_given_back() {
    let mut world = established(HOLD_ONE);
    world.ask(101, "type='terminate'", "");
    assert_eq!(left(&mut world), (Cause::Closed, vec![], vec![]));
    let mut world = established(HOLD_ONE);
    world.ask(101, "", "");
    assert_eq!(world.session.abandon(101, world.now), Abandoned::Unattended);
    world.says(&[&message(1), CLOSE]);
    world.ask(102, "", "");
    assert_eq!(left(&mut world), (Cause::Closed, vec![], vec![]));
}

#[test]
fn as_this_program_ends_what_its_clients_did_not_get_is_given_back_at_once() {
    let mut world = established(HOLD_ONE);
    world.ask(101, "", "");
    world.says(&[&message(1)]);
    assert_eq!(world.session.abandon(101, world.now), Abandoned::Unattended);
    world
        .session
        .terminate(Condition::SystemShutdown, Cause::Shutdown, world.now);
    let undelivered = vec![message(1)];
    assert_eq!(
        left_of_the_end(&mut world),
        (Cause::Shutdown, vec![], undelivered)
    );
    world.ask(102, "", "");
    world.expect(102, &terminated("system-shutdown"));
}

/// Each row: how the session ends.
#[test]
fn what_ejabberd_has_not_taken_is_left_however_the_session_ends() {
    type End = fn(&mut World);
    let ends: [(End, Cause); 3] = [
        (|world| world.session.expire(world.now), Cause::Silent),
        (
            |world| {
                world
                    .session
                    .terminate(Condition::SystemShutdown, Cause::Shutdown, world.now);
            },
            Cause::Shutdown,
        ),
        (
            |world| assert_eq!(world.refused(199, ""), terminated("item-not-found")),
            Cause::Unreadable,
        ),
    ];
    for (end, cause) in ends {
        let mut world = established("to='a' hold='3' ver='1.6' xmpp:version='1.0'");
        world.ejabberd.window = Window::Shut;
        let two = format!("{}{}", message(1), message(2));
        world.ask(101, "", &two);
        world.ask(102, "", &message(3));
        // Between these one is missing: nobody can know what it was.
        world.ask(104, "", &message(5));
        end(&mut world);
        let unsent = vec![message(1), message(2), message(3)];
        assert_eq!(left_of_the_end(&mut world), (cause, unsent, vec![]));
    }
}

#[test]
fn last_words_that_ejabberd_has_not_taken_are_left_with_the_streams_end() {
    for shut in [true, false] {
        let mut world = established(HOLD_ONE);
        world.ejabberd.window = Window::Shut;
        world.ask(101, "", &message(1));
        world.ask(102, "type='terminate'", &message(2));
        if shut {
            world
                .session
                .terminate(Condition::SystemShutdown, Cause::Shutdown, world.now);
        } else {
            world.session.expire(world.now);
        }
        let unsent = vec![message(1), message(2), CLOSE.to_owned()];
        assert_eq!(left_of_the_end(&mut world), (Cause::Closed, unsent, vec![]));
    }
}

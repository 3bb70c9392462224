//! Waiting, polling, pauses, silence and haste: XEP-0124, sections 8 and 10 to 12.

use super::*;

const SECOND: Duration = Duration::from_secs(1);
const POLLING: &str = "to='a' wait='0' hold='0' ver='1.6' xmpp:version='1.0'";

#[test]
fn section_8_a_request_is_held_for_as_long_as_the_client_wants() {
    let mut world = established("to='a' wait='20' hold='1' ver='1.6' xmpp:version='1.0'");
    world.ask(101, "", "");
    let deadline = world.session.deadline(101, world.now);
    assert_eq!(deadline, Some(world.now + 20 * SECOND));
    world.pass(20 * SECOND - Duration::from_millis(1));
    world.held(101);
    world.pass(Duration::from_millis(1));
    world.expect(101, EMPTY);
}

#[test]
fn section_8_no_more_requests_are_held_than_the_client_wants() {
    let mut world = established(HOLD_ONE);
    world.ask(101, "", "");
    world.held(101);
    world.ask(102, "", &message(1));
    world.expect(101, EMPTY);
    world.held(102);
}

#[test]
fn section_8_what_comes_from_ejabberd_is_answered_at_once_and_together() {
    let mut world = established(HOLD_ONE);
    world.ask(101, "", "");
    world.says(&[&message(1), &message(2)]);
    world.expect(101, &carrying(&(message(1) + &message(2))));
    world.says(&[&message(3)]);
    world.ask(102, "", "");
    world.expect(102, &carrying(&message(3)));
}

#[test]
fn what_comes_while_no_request_is_held_is_left_where_it_slows_ejabberd_down() {
    let mut world = established(HOLD_ONE);
    world.says(&[&message(1)]);
    assert_eq!(world.ejabberd.coming.len(), 1);
}

#[test]
fn section_10_a_silent_client_counts_as_gone() {
    let mut world = established(HOLD_ONE);
    assert_eq!(world.session.inactive_at(), Some(world.now + 30 * SECOND));
    world.ask(101, "", "");
    assert_eq!(world.session.inactive_at(), None);
    world.pass(60 * SECOND);
    world.expect(101, EMPTY);
    assert_eq!(world.session.inactive_at(), Some(world.now + 30 * SECOND));
}

#[test]
fn section_10_a_client_whose_connections_broke_is_silent() {
    let mut world = established(HOLD_ONE);
    world.ask(101, "", "");
    world.pass(7 * SECOND);
    world.session.abandon(101, world.now);
    assert_eq!(world.session.inactive_at(), Some(world.now + 30 * SECOND));
}

#[test]
fn section_10_a_request_that_waits_for_one_before_it_does_not_keep_a_session_up() {
    let mut world = established(HOLD_ONE);
    world.pass(7 * SECOND);
    world.ask(102, "", "");
    assert_eq!(world.session.inactive_at(), Some(world.now + 30 * SECOND));
}

#[test]
fn section_10_a_pause_answers_all_requests_and_must_have_no_payload() {
    let mut world = established(HOLD_ONE);
    world.ask(101, "", "");
    world.ask(102, "pause='100'", &message(1));
    world.says(&[&message(7)]);
    world.expect(101, EMPTY);
    world.expect(102, EMPTY);
    assert_eq!(world.taken(), [message(1)]);
    assert_eq!(world.session.inactive_at(), Some(world.now + 100 * SECOND));
    world.pass(99 * SECOND);
    world.ask(103, "", "");
    world.expect(103, &carrying(&message(7)));
    assert_eq!(world.session.inactive_at(), Some(world.now + 30 * SECOND));
}

#[test]
fn section_10_a_pause_has_no_payload_even_if_there_is_one() {
    let mut world = established(HOLD_ONE);
    world.says(&[&message(7)]);
    world.ask(101, "pause='10'", "");
    world.expect(101, EMPTY);
    world.ask(102, "", "");
    world.expect(102, &carrying(&message(7)));
}

#[test]
fn section_10_a_pause_is_no_longer_than_is_offered() {
    let mut world = established(HOLD_ONE);
    world.ask(101, "pause='5000'", "");
    world.expect(101, EMPTY);
    assert_eq!(world.session.inactive_at(), Some(world.now + 120 * SECOND));
}

#[test]
fn section_12_a_client_that_polls_is_answered_at_once() {
    let mut world = established(POLLING);
    world.says(&[&message(1)]);
    world.ask(101, "", &message(9));
    world.expect(101, &carrying(&message(1)));
    world.ask(102, "", &message(9));
    world.expect(102, EMPTY);
}

#[test]
fn section_12_a_client_that_polls_need_not_ask_twice_for_the_features() {
    let mut world = create(POLLING, "").unwrap();
    world.held(100);
    world.pass(Duration::from_millis(999));
    world.held(100);
    world.pass(Duration::from_millis(1));
    assert!(attribute(&world.answer(100).unwrap(), "sid").is_some());
}

#[test]
fn section_12_two_empty_requests_within_the_polling_interval_are_a_policy_violation() {
    let mut world = established(POLLING);
    world.ask(101, "", "");
    world.expect(101, EMPTY);
    world.pass(2 * SECOND - Duration::from_millis(1));
    world.ask(102, "", "");
    world.expect(102, &terminated("policy-violation"));
    assert!(world.session.is_over());
}

#[test]
fn section_12_slower_polls_and_those_with_a_payload_are_not() {
    let mut world = established(POLLING);
    world.ask(101, "", "");
    world.pass(2 * SECOND);
    world.ask(102, "", "");
    world.ask(103, "", &message(1));
    // What the one before brought makes another one worth while.
    world.says(&[&message(7)]);
    world.ask(104, "", "");
    world.ask(105, "", "");
    for (rid, answer) in [(101, EMPTY), (102, EMPTY), (103, EMPTY), (105, EMPTY)] {
        world.expect(rid, answer);
    }
    world.expect(104, &carrying(&message(7)));
}

#[test]
fn section_12_a_repeated_poll_is_none() {
    let mut world = established(POLLING);
    world.ask(101, "", "");
    world.expect(101, EMPTY);
    world.ask(101, "", "");
    world.expect(101, EMPTY);
}

#[test]
fn section_11_a_client_that_floods_with_empty_requests_violates_the_policy() {
    let mut world = established(HOLD_ONE);
    world.ask(101, "", "");
    let mut rid = 101;
    let last = loop {
        rid += 1;
        world.ask(rid, "", "");
        match world.answer(rid) {
            None => world.expect(rid - 1, EMPTY),
            Some(answer) => break answer,
        }
    };
    assert_eq!(last, terminated("policy-violation"));
    assert_eq!(rid, 112);
    world.expect(rid - 1, &terminated("other-request"));
}

#[test]
fn section_11_a_client_that_has_something_to_say_is_never_too_fast() {
    let mut world = established(HOLD_ONE);
    for rid in 101..200 {
        world.ask(rid, "", &message(1));
        world.ask(rid, "", &message(1));
    }
    world.held(199);
}

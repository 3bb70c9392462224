//! Requests by their ids, repeated ones and keys: XEP-0124, sections 14 and 15.

use super::*;

#[test]
fn section_14_2_payloads_are_forwarded_in_the_order_of_rid() {
    let mut world = established(HOLD_ONE);
    world.ask(102, "", &message(2));
    assert!(world.taken().is_empty());
    world.held(102);
    world.ask(101, "", &message(1));
    assert_eq!(world.taken(), [message(1), message(2)]);
}

#[test]
fn section_14_2_a_request_that_comes_early_is_answered_with_the_one_before_it() {
    // Swiften and Tsung open two connections and don't wait for one before they use the other.
    let mut world = established(HOLD_ONE);
    world.ask(102, "", "");
    world.ask(101, "", "");
    world.expect(101, EMPTY);
    world.held(102);
    world.says(&[&message(1)]);
    world.expect(102, &carrying(&message(1)));
}

#[test]
fn section_14_2_requests_are_answered_in_the_order_of_rid() {
    let mut world = established("to='a' hold='2' ver='1.6' xmpp:version='1.0'");
    world.ask(101, "", "");
    world.ask(102, "", "");
    world.says(&[&message(1)]);
    world.held(102);
    world.expect(101, &carrying(&message(1)));
    world.says(&[&message(2)]);
    world.expect(102, &carrying(&message(2)));
}

#[test]
fn section_14_2_a_rid_past_the_window_must_end_the_session_with_item_not_found() {
    let mut world = established(HOLD_ONE);
    world.ask(102, "", "");
    assert_eq!(world.refused(103, ""), terminated("item-not-found"));
    world.expect(102, &terminated("other-request"));
    assert!(world.session.is_over());
    assert_eq!(world.refused(101, ""), terminated("item-not-found"));
}

#[test]
fn section_11_one_more_request_is_allowed_to_pause_or_to_terminate() {
    for last in ["type='terminate'", "pause='10'"] {
        let mut world = established(HOLD_ONE);
        world.ask(102, "", "");
        world.ask(103, last, "");
        world.ask(101, "", "");
        world.expect(101, EMPTY);
        world.expect(102, EMPTY);
        assert!(world.answer(103).is_some(), "{last}");
    }
}

#[test]
fn section_14_3_a_repeated_request_gets_the_same_answer_and_is_forwarded_once() {
    let mut world = established(HOLD_ONE);
    world.ask(101, "", &message(1));
    world.says(&[&message(7)]);
    world.expect(101, &carrying(&message(7)));
    for _ in 0..3 {
        world.ask(101, "", &message(1));
        world.expect(101, &carrying(&message(7)));
    }
    assert_eq!(world.taken(), [message(1)]);
}

#[test]
fn section_14_3_the_answers_of_as_many_requests_as_may_be_simultaneous_are_kept() {
    let mut world = established(HOLD_ONE);
    for rid in 101..=103 {
        world.ask(rid, "", "");
        world.says(&[&message(u32::try_from(rid).unwrap())]);
        world.expect(rid, &carrying(&message(u32::try_from(rid).unwrap())));
    }
    world.ask(103, "", "");
    world.ask(102, "", "");
    world.expect(102, &carrying(&message(102)));
    world.expect(103, &carrying(&message(103)));
    assert_eq!(world.refused(101, ""), terminated("item-not-found"));
}

#[test]
fn a_request_that_is_too_old_does_not_end_the_session() {
    // It may have been under way for long, and its client has gone on meanwhile.
    let mut world = established(HOLD_ONE);
    for rid in 101..=104 {
        world.ask(rid, "", "");
    }
    for rid in 101..=103 {
        world.expect(rid, EMPTY);
    }
    assert_eq!(world.refused(101, ""), terminated("item-not-found"));
    world.says(&[&message(1)]);
    world.expect(104, &carrying(&message(1)));
}

#[test]
fn section_14_3_an_answer_that_a_connection_has_still_to_fetch_is_kept() {
    let mut world = established(HOLD_ONE);
    for rid in 101..=105 {
        world.ask(rid, "", "");
    }
    for rid in 101..=104 {
        world.expect(rid, EMPTY);
    }
    world.held(105);
}

#[test]
fn a_request_that_is_repeated_while_it_is_held_is_answered_on_both_connections_alike() {
    let mut world = established(HOLD_ONE);
    world.ask(101, "", &message(1));
    world.ask(101, "", &message(1));
    world.held(101);
    world.says(&[&message(7)]);
    world.expect(101, &carrying(&message(7)));
    world.expect(101, &carrying(&message(7)));
    assert_eq!(world.taken(), [message(1)]);
}

#[test]
fn a_request_whose_connection_broke_takes_no_payload_until_it_is_repeated() {
    let mut world = established(HOLD_ONE);
    world.ask(101, "", "");
    assert_eq!(world.session.abandon(101, world.now), Abandoned::Unattended);
    world.says(&[&message(7)]);
    world.held(101);
    world.ask(101, "", "");
    world.expect(101, &carrying(&message(7)));
}

#[test]
fn a_request_whose_connection_broke_and_that_is_not_repeated_takes_nothing_with_it() {
    let mut world = established(HOLD_ONE);
    world.ask(101, "", "");
    world.session.abandon(101, world.now);
    world.says(&[&message(7)]);
    world.ask(102, "", "");
    world.expect(102, &carrying(&message(7)));
    world.ask(101, "", "");
    world.expect(101, EMPTY);
}

#[test]
fn an_answer_that_was_not_delivered_is_there_for_a_repetition() {
    let mut world = established(HOLD_ONE);
    world.ask(101, "", "");
    world.says(&[&message(7)]);
    // Fetched, and its connection broke while it was written.
    world.expect(101, &carrying(&message(7)));
    world.ask(101, "", "");
    world.expect(101, &carrying(&message(7)));
}

#[test]
fn a_repeated_request_is_held_for_as_long_as_a_new_one() {
    let mut world = established(HOLD_ONE);
    world.ask(101, "", "");
    world.pass(Duration::from_secs(50));
    world.session.abandon(101, world.now);
    world.pass(Duration::from_secs(5));
    world.ask(101, "", "");
    world.pass(Duration::from_secs(59));
    world.held(101);
    world.pass(Duration::from_secs(1));
    world.expect(101, EMPTY);
}

pub(super) fn key(seed: &str, times: usize) -> String {
    use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
    (0..times).fold(seed.to_owned(), |key, _| {
        let hash = digest(&SHA1_FOR_LEGACY_USE_ONLY, key.as_bytes());
        hash.as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    })
}

#[test]
fn section_15_4_each_request_has_to_have_the_next_key() {
    let mut world = established(&format!("{HOLD_ONE} newkey='{}'", key("s", 5)));
    world.ask(101, &format!("key='{}'", key("s", 4)), &message(1));
    // Keys count in the order of rid, whichever comes first.
    world.ask(103, &format!("key='{}'", key("s", 2)), &message(3));
    world.ask(102, &format!("key='{}'", key("s", 3)), &message(2));
    assert_eq!(world.taken(), [message(1), message(2), message(3)]);
    world.expect(101, EMPTY);
    world.expect(102, EMPTY);
    world.held(103);
}

#[test]
fn section_15_4_a_wrong_key_must_end_the_session_and_must_not_be_processed() {
    for wrong in [
        "",
        "key='x'",
        &format!("key='{}'", key("s", 5)),
        &format!("key='{}'", key("s", 3)),
    ] {
        let mut world = established(&format!("{HOLD_ONE} newkey='{}'", key("s", 5)));
        world.ask(101, wrong, &message(1));
        world.expect(101, &terminated("item-not-found"));
        assert!(
            world.taken().is_empty() && world.session.is_over(),
            "{wrong}"
        );
    }
}

#[test]
fn section_15_4_a_repetition_with_another_key_is_somebody_elses() {
    let mut world = established(&format!("{HOLD_ONE} newkey='{}'", key("s", 5)));
    world.ask(101, &format!("key='{}'", key("s", 4)), "");
    world.says(&[&message(7)]);
    world.expect(101, &carrying(&message(7)));
    assert_eq!(world.refused(101, ""), terminated("item-not-found"));
}

#[test]
fn section_15_5_a_client_can_go_on_with_a_new_sequence() {
    let mut world = established(&format!("{HOLD_ONE} newkey='{}'", key("s", 2)));
    let switch = format!("key='{}' newkey='{}'", key("s", 1), key("t", 3));
    world.ask(101, &switch, "");
    world.ask(102, &format!("key='{}'", key("t", 2)), "");
    world.expect(101, EMPTY);
    world.held(102);
}

#[test]
fn section_9_1_an_answer_acknowledges_later_requests() {
    let mut world = established(&format!("{HOLD_ONE} ack='1'"));
    world.ask(101, "", "");
    world.ask(102, "ack='100'", "");
    world.expect(
        101,
        "<body xmlns='http://jabber.org/protocol/httpbind' ack='102'/>",
    );
    world.says(&[&message(1)]);
    world.expect(102, &carrying(&message(1)));
}

#[test]
fn section_9_2_a_client_that_misses_an_answer_is_told_so() {
    let mut world = established(&format!("{HOLD_ONE} ack='1'"));
    world.ask(101, "", "");
    world.says(&[&message(1)]);
    assert!(world.answer(101).is_some());
    world.pass(Duration::from_millis(1_500));
    world.ask(102, "ack='100'", "");
    world.expect(
        102,
        "<body xmlns='http://jabber.org/protocol/httpbind' report='101' time='1500'/>",
    );
    world.ask(101, "", "");
    world.expect(101, &carrying(&message(1)));
}

#[test]
fn section_14_3_with_acknowledgements_the_answers_kept_are_those_not_acknowledged() {
    let mut world = established(&format!("{HOLD_ONE} ack='1'"));
    for rid in 101..=104 {
        world.ask(rid, "ack='100'", "");
        world.says(&[&message(1)]);
        assert!(world.answer(rid).is_some());
    }
    world.ask(101, "", "");
    assert!(world.answer(101).is_some());
    world.ask(105, "ack='103'", "");
    world.held(105);
    assert_eq!(world.refused(103, ""), terminated("item-not-found"));
}

#[test]
fn nothing_is_answered_whose_payload_ejabberd_has_not_taken() {
    let mut world = established(HOLD_ONE);
    world.ejabberd.window = Window::Shut;
    world.ask(101, "", &message(1));
    world.ask(102, "", &message(2));
    world.pass(Duration::from_secs(61));
    world.held(101);
    world.ejabberd.window = Window::Open;
    world.pump();
    assert_eq!(world.taken(), [message(1), message(2)]);
    world.expect(101, EMPTY);
}

#[test]
fn requests_that_wait_for_ejabberds_window_are_taken_as_soon_as_it_opens() {
    let mut world = established("to='a' wait='60' hold='2' ver='1.6' xmpp:version='1.0'");
    world.ejabberd.window = Window::Shut;
    world.ask(101, "", &message(1));
    world.ask(102, "", &message(2));
    world.ejabberd.window = Window::Open;
    world.pump();
    assert_eq!(world.taken(), [message(1), message(2)]);
}

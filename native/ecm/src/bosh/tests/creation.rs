//! Creating a session: XEP-0124, section 7, and what XEP-0206 adds.

use super::*;

#[test]
fn section_7_1_the_first_document_for_ejabberd_opens_a_stream() {
    let mut world = create(
        "to='a.example' from='b@a.example' xml:lang='de' xmpp:version='1.0'",
        "",
    )
    .unwrap();
    assert_eq!(
        world.taken(),
        [
            "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='a.example' from='b@a.example' \
             version='1.0' xml:lang='de'/>"
        ]
    );
}

#[test]
fn section_7_1_a_payload_of_the_first_request_follows_it() {
    let mut world = create(HOLD_ONE, &message(1)).unwrap();
    assert_eq!(world.taken()[1..], [message(1)]);
}

#[test]
fn section_7_1_a_request_without_to_is_improper_addressing() {
    for attributes in ["", "to=''"] {
        let answer = create(attributes, "").err().unwrap();
        assert_eq!(text(&answer), terminated("improper-addressing"));
    }
}

#[test]
fn section_7_2_the_answer_has_sid_and_wait_and_what_should_be_there() {
    let mut world = create(HOLD_ONE, "").unwrap();
    world.says(&[OPEN, FEATURES]);
    let answer = world.answer(100).unwrap();
    let sid = world.session.sid().to_string();
    for (name, value) in [
        ("sid", sid.as_str()),
        ("wait", "60"),
        ("ver", "1.6"),
        ("polling", "2"),
        ("inactivity", "30"),
        ("requests", "2"),
        ("hold", "1"),
        ("maxpause", "120"),
        ("charsets", "UTF-8"),
        ("secure", "true"),
        ("from", "a.example"),
        ("authid", "i1"),
        ("xmpp:version", "1.0"),
        ("xmpp:restartlogic", "true"),
        ("xmlns:xmpp", "urn:xmpp:xbosh"),
        ("xmlns:stream", "http://etherx.jabber.org/streams"),
    ] {
        assert_eq!(
            attribute(&answer, name).as_deref(),
            Some(value),
            "{name}: {answer}"
        );
    }
    for name in ["ack", "type", "condition", "stream", "accept"] {
        assert_eq!(attribute(&answer, name), None, "{answer}");
    }
    assert!(answer.contains("<stream:features"), "{answer}");
}

#[test]
fn what_means_nothing_in_a_creation_refuses_nobody() {
    for more in [
        "type='error'",
        "type=''",
        "type='x'",
        "newkey=''",
        "key='x'",
        "pause='5'",
        "secure='maybe'",
        "stream='s'",
        "route='xmpp:a:1'",
        "xmpp:restart='true'",
    ] {
        let mut world = create(&format!("{HOLD_ONE} {more}"), "").unwrap();
        world.says(&[OPEN, FEATURES]);
        let answer = world.answer(100).unwrap();
        assert!(attribute(&answer, "sid").is_some(), "{more}: {answer}");
        world.ask(101, "", &message(1));
        assert_eq!(world.taken().pop(), Some(message(1)), "{more}");
    }
    let answer = create(&format!("{HOLD_ONE} type='terminate'"), "").err();
    assert_eq!(text(&answer.unwrap()), terminated("bad-request"));
}

#[test]
fn section_7_2_those_attributes_are_in_no_other_answer() {
    let mut world = established(HOLD_ONE);
    world.ask(101, "", "");
    world.says(&[&message(1)]);
    world.expect(101, &carrying(&message(1)));
}

#[test]
fn section_7_2_wait_and_hold_must_not_be_more_than_was_asked_for_nor_than_is_offered() {
    for (asked, wait, hold, requests) in [
        ("wait='30' hold='1'", "30", "1", "2"),
        ("wait='600' hold='7'", "60", "2", "3"),
        ("", "60", "1", "2"),
        ("wait='99999999999' hold='99999999999'", "60", "2", "3"),
        ("wait='10' hold='0'", "10", "0", "1"),
    ] {
        let attributes = format!("to='a' ver='1.11' xmpp:version='1.0' {asked}");
        let mut world = create(&attributes, "").unwrap();
        world.says(&[OPEN, FEATURES]);
        let answer = world.answer(100).unwrap();
        let found = ["wait", "hold", "requests"].map(|name| attribute(&answer, name).unwrap());
        assert_eq!(found, [wait, hold, requests], "{asked}");
    }
}

#[test]
fn section_7_2_ver_is_the_lower_of_both_versions() {
    for (asked, answered) in [
        ("1.6", "1.6"),
        ("1.11", "1.11"),
        ("2.0", "1.11"),
        ("1.100", "1.11"),
    ] {
        let mut world = create(&format!("to='a' xmpp:version='1.0' ver='{asked}'"), "").unwrap();
        world.says(&[OPEN, FEATURES]);
        let answer = world.answer(100).unwrap();
        assert_eq!(attribute(&answer, "ver").as_deref(), Some(answered));
    }
}

#[test]
fn section_7_2_sids_are_unpredictable() {
    let sid = || create(HOLD_ONE, "").unwrap().session.sid().to_string();
    let (one, other) = (sid(), sid());
    assert_eq!((one.len(), other.len()), (32, 32));
    assert_ne!(one[..16], other[..16]);
    assert_ne!(one[16..], other[16..]);
}

#[test]
fn section_7_1_answers_have_the_content_type_that_the_client_wants() {
    for (asked, content_type) in [
        ("", None),
        ("content='text/xml; charset=utf-8'", None),
        ("content='text/html'", Some("text/html")),
        ("content='text/html&#13;&#10;X: y'", None),
        ("content='ä/ö'", None),
        ("content='x'", None),
    ] {
        let world = create(&format!("{HOLD_ONE} {asked}"), "").unwrap();
        assert_eq!(world.session.content_type(), content_type, "{asked}");
    }
}

#[test]
fn section_9_1_who_acknowledges_must_do_so_from_the_first_answer_on() {
    let mut world = create(&format!("{HOLD_ONE} ack='1'"), "").unwrap();
    world.says(&[OPEN, FEATURES]);
    let answer = world.answer(100).unwrap();
    assert_eq!(attribute(&answer, "ack").as_deref(), Some("100"));
}

#[test]
fn section_12_a_session_that_polls_has_a_longer_inactivity() {
    let mut world = create("to='a' wait='0' ver='1.6' xmpp:version='1.0'", "").unwrap();
    world.says(&[OPEN, FEATURES]);
    let answer = world.answer(100).unwrap();
    assert_eq!(attribute(&answer, "inactivity").as_deref(), Some("34"));
}

#[test]
fn section_17_1_a_client_that_says_no_version_gets_http_errors() {
    let mut world = established("to='a' hold='1' xmpp:version='1.0'");
    let Taken::Refused(answer) = world.request(200, "", "") else {
        panic!("200 is out of the window")
    };
    assert_eq!(answer.status, Status::NotFound);
    assert_eq!(text(&answer), terminated("item-not-found"));
}

#[test]
fn section_16_3_without_multiple_streams_a_request_for_another_one_is_an_empty_request() {
    let mut world = established(HOLD_ONE);
    world.ask(101, "to='b.example' stream='s'", "");
    world.held(101);
    assert!(world.taken().is_empty());
}

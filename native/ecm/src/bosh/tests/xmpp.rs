//! XMPP over BOSH: XEP-0206.

use super::*;

#[test]
fn section_4_features_are_in_the_first_answer_if_they_come_in_time() {
    let mut world = create(HOLD_ONE, "").unwrap();
    world.says(&[OPEN]);
    world.held(100);
    world.says(&[FEATURES]);
    let answer = world.answer(100).unwrap();
    assert!(answer.ends_with("><stream:features/></body>"), "{answer}");
}

#[test]
fn section_4_or_else_in_a_later_one_with_version_and_authid() {
    let mut world = create("to='a' wait='5' hold='1' ver='1.6' xmpp:version='1.0'", "").unwrap();
    world.pass(Duration::from_secs(5));
    let first = world.answer(100).unwrap();
    assert!(attribute(&first, "sid").is_some() && attribute(&first, "authid").is_none());
    world.ask(101, "", "");
    world.says(&[OPEN]);
    world.held(101);
    world.says(&[FEATURES]);
    let second = world.answer(101).unwrap();
    for (name, value) in [
        ("authid", "i1"),
        ("xmpp:version", "1.0"),
        ("from", "a.example"),
        ("xmlns:stream", "http://etherx.jabber.org/streams"),
    ] {
        assert_eq!(attribute(&second, name).as_deref(), Some(value), "{second}");
    }
    assert!(attribute(&second, "sid").is_none());
}

#[test]
fn section_3_a_client_without_version_waits_for_no_features() {
    let mut world = create("to='a' wait='60' hold='1' ver='1.6'", "").unwrap();
    assert_eq!(
        world.taken(),
        ["<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='a'/>"]
    );
    world.says(&["<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' id='i1' from='a'/>"]);
    let answer = world.answer(100).unwrap();
    assert_eq!(attribute(&answer, "authid").as_deref(), Some("i1"));
    world.ask(101, "", "");
    world.held(101);
}

#[test]
fn section_5_a_restart_opens_a_new_stream() {
    let mut world = established(HOLD_ONE);
    world.ask(101, "xmpp:restart='true' to='a.example' xml:lang='en'", "");
    assert_eq!(
        world.taken(),
        [
            "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='a.example' version='1.0' \
             xml:lang='en'/>"
        ]
    );
    world.says(&[OPEN, FEATURES]);
    let answer = world.answer(101).unwrap();
    assert!(answer.contains("<stream:features/>"), "{answer}");
    assert!(attribute(&answer, "sid").is_none());
}

#[test]
fn section_5_a_restart_without_to_is_for_the_same_domain() {
    let mut world = established(HOLD_ONE);
    world.ask(101, "xmpp:restart='true'", "");
    assert!(world.taken()[0].contains("to='a.example' version='1.0'"));
}

#[test]
fn what_is_inside_a_restart_is_handled_after_it() {
    // JSJaC sends its bind there.
    let mut world = established(HOLD_ONE);
    world.ask(101, "xmpp:restart='true'", &message(1));
    let taken = world.taken();
    assert!(taken[0].starts_with("<open"), "{taken:?}");
    assert_eq!(taken[1..], [message(1)]);
}

#[test]
fn both_spellings_of_the_namespace_are_understood() {
    for namespace in ["urn:xmpp:xbosh", "urn:xmpp:bosh"] {
        let mut world = established(HOLD_ONE);
        let restart = format!("x:restart='true' xmlns:x='{namespace}'");
        world.ask(101, &restart, "");
        assert!(world.taken()[0].starts_with("<open"), "{namespace}");
    }
}

#[test]
fn section_2_stanzas_without_a_namespace_are_jabber_clients_in_both_directions() {
    let mut world = established(HOLD_ONE);
    world.ask(101, "", "<presence/>");
    assert_eq!(world.taken(), ["<presence xmlns='jabber:client'/>"]);
    world.says(&["<presence/>"]);
    world.expect(101, &carrying("<presence xmlns='jabber:client'/>"));
}

#[test]
fn before_the_login_a_request_brings_no_more_than_a_login_needs() {
    let large = format!("<iq>{}</iq>", "x".repeat(64 * 1024));
    let answer = create(HOLD_ONE, &large).err().unwrap();
    assert_eq!(text(&answer), terminated("policy-violation"));
    let mut world = established(HOLD_ONE);
    let Taken::Refused(answer) = world.request(101, "", &large) else {
        panic!("it is too large");
    };
    assert_eq!(text(&answer), terminated("policy-violation"));
    for login in [
        "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
        "<message/>",
    ] {
        let mut world = established(HOLD_ONE);
        world.ask(101, "", "");
        world.says(&[login]);
        world.ask(102, "", &large);
        assert_eq!(world.taken().len(), 1, "after {login}");
    }
    // Anybody gets one.
    let mut world = established(HOLD_ONE);
    world.ask(101, "", "");
    world.says(&["<iq type='error'/>"]);
    let Taken::Refused(answer) = world.request(102, "", &large) else {
        panic!("it is too large");
    };
    assert_eq!(text(&answer), terminated("policy-violation"));
}

#[test]
fn a_client_that_polls_gets_the_features_of_a_restart_in_its_answer() {
    let mut world = established("to='a' wait='0' hold='0' ver='1.6' xmpp:version='1.0'");
    world.ask(101, "xmpp:restart='true'", "");
    world.held(101);
    world.says(&[OPEN, FEATURES]);
    assert!(world.answer(101).unwrap().contains("<stream:features/>"));
}

#[test]
fn a_restart_that_ejabberd_drops_is_a_poll() {
    // It has no reason to open a stream after the client has a resource.
    let mut world = established("to='a' wait='5' hold='1' ver='1.6' xmpp:version='1.0'");
    world.ask(101, "xmpp:restart='true'", "");
    world.says(&[&message(1)]);
    world.expect(101, &carrying(&message(1)));
    world.ask(102, "xmpp:restart='true'", "");
    world.pass(Duration::from_secs(5));
    world.expect(102, EMPTY);
    world.ask(103, "xmpp:restart='true'", "");
    world.ask(104, "", &message(2));
    world.expect(103, EMPTY);
    world.held(104);
    // Who polls waits for features once, and not for ever after.
    let mut world = established("to='a' wait='0' hold='0' ver='1.6' xmpp:version='1.0'");
    world.ask(101, "xmpp:restart='true'", "");
    world.held(101);
    world.pass(Duration::from_secs(2));
    world.expect(101, EMPTY);
    world.ask(102, "", "");
    world.expect(102, EMPTY);
}

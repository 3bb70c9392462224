//! Logins wait for their turn, whatever their clients speak.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::io::{Read as _, Write as _};
use std::time::Duration;

use common::metrics::{METRICS, scrape, wait_for};
use common::sessions::Sessions;
use common::v2::{Peer2, Seen};
use common::{Client, Ecm};

const OPEN: &str = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='a' version='1.0'/>";
const AUTH: &str = "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";
const AUTHENTICATE: &str = "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'/>";
const SUCCESS2: &str = "<success xmlns='urn:xmpp:sasl:2'/>";
/// What ejabberd says to a client that logs in, up to the first stanza.
const LOGIN: [&str; 3] = [
    "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' id='1' from='a' version='1.0'/>",
    "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
    "<iq xmlns='jabber:client' type='result' id='bind'/>",
];
const FEATURES: &str = "<stream:features xmlns:stream='http://etherx.jabber.org/streams'/>";
const ONE_AT_ONCE: &str = "[limits]\nlogins_at_once = 1\n";

/// What a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaks {
    Xmpp,
    WebSocket,
    Bosh,
}

const ALL: [Speaks; 3] = [Speaks::Xmpp, Speaks::WebSocket, Speaks::Bosh];

impl Speaks {
    /// A program with one listener, which is for that.
    fn start(self, peer: &Peer2, more: &str) -> (Ecm, Sessions) {
        let kind = match self {
            Self::Xmpp => "kind = \"xmpp\"\nstarttls = \"off\"\n",
            Self::WebSocket | Self::Bosh => "",
        };
        let mut ecm = Ecm::start_with_config(&format!(
            "[log]\nlevel = \"debug\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n{kind}[trunk]\n\
             address = \"{}\"\ntrunks = 1\n{METRICS}{more}",
            peer.address
        ));
        let trunk = peer.accept();
        ecm.wait_for_log("is up");
        (ecm, Sessions::new(trunk))
    }

    /// A client that has opened its stream.
    fn begin(self, ecm: &Ecm) -> Client {
        let mut client = ecm.client();
        match self {
            Self::Xmpp => client.send(
                "<stream:stream xmlns='jabber:client' \
                 xmlns:stream='http://etherx.jabber.org/streams' to='a' version='1.0'>",
            ),
            Self::WebSocket => {
                client.send(
                    "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                     Sec-WebSocket-Protocol: xmpp\r\n\r\n",
                );
                client.until("\r\n\r\n");
                self.say(&mut client, OPEN);
            }
            Self::Bosh => {
                let body = "<body xmlns='http://jabber.org/protocol/httpbind' rid='1' to='a' \
                    wait='60' hold='1' ver='1.11' xmpp:version='1.0' \
                    xmlns:xmpp='urn:xmpp:xbosh'/>";
                client.send(&format!(
                    "POST /bosh HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                ));
            }
        }
        client
    }

    fn say(self, client: &mut Client, document: &str) {
        match self {
            Self::Xmpp => client.send(document),
            Self::WebSocket => {
                let length = u8::try_from(document.len()).unwrap();
                let frame = [&[0x81, 0x80 | length, 0, 0, 0, 0], document.as_bytes()].concat();
                client.stream.write_all(&frame).unwrap();
            }
            Self::Bosh => panic!("it does not know its session"),
        }
    }

    /// Sends a document once ejabberd has answered its stream.
    fn go_on(self, client: &mut Client, document: &str) {
        match self {
            Self::Xmpp | Self::WebSocket => {
                client.until("features");
                self.say(client, document);
            }
            Self::Bosh => {
                let answer = client.until("</body>");
                let sid = answer.split(" sid='").nth(1).unwrap();
                let sid = sid.split('\'').next().unwrap();
                post(client, &format!("rid='2' sid='{sid}'"), document);
            }
        }
    }

    /// What a client gets whose turn did not come in time.
    #[track_caller]
    fn expect_refusal(self, client: &mut Client) {
        match self {
            Self::Xmpp => {
                let error = client.rest();
                assert!(error.contains("<resource-constraint "), "{error}");
                assert!(error.ends_with("</stream:stream>"), "{error}");
            }
            Self::WebSocket => {
                let error = client.until("</stream:error>");
                assert!(error.contains("<resource-constraint "), "{error}");
                let mut rest = Vec::new();
                while !rest.ends_with(&1013_u16.to_be_bytes()) {
                    let mut byte = [0];
                    client.stream.read_exact(&mut byte).unwrap();
                    rest.push(byte[0]);
                }
            }
            Self::Bosh => {
                client.until("<body ");
                let answer = client.until("/>");
                assert!(answer.contains(" type='terminate' "), "{answer}");
                let condition = " condition='remote-connection-failed'";
                assert!(answer.contains(condition), "{answer}");
            }
        }
    }
}

/// A request of BOSH.
fn post(client: &mut Client, attributes: &str, payload: &str) {
    let body =
        format!("<body xmlns='http://jabber.org/protocol/httpbind' {attributes}>{payload}</body>");
    client.send(&format!(
        "POST /bosh HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    ));
}

#[track_caller]
fn logs_in(sessions: &mut Sessions) -> u32 {
    let (id, _, first) = sessions.opened();
    assert!(first.starts_with("<open "), "{first}");
    sessions.send(id, &LOGIN);
    id
}

#[track_caller]
fn assert_nothing_comes(sessions: &mut Sessions, speaks: Speaks) {
    let early = sessions.trunk.next_within(Duration::from_millis(20));
    assert_eq!(early, None, "{speaks:?}");
}

#[track_caller]
fn wait_for_logins(ecm: &mut Ecm, running: u32, waiting: u32) {
    wait_for(ecm, "megaphone_ecm_logins_running", running.into());
    wait_for(ecm, "megaphone_ecm_logins_waiting", waiting.into());
}

#[test]
fn ejabberd_hears_of_a_client_when_it_has_answered_those_before() {
    for speaks in ALL {
        let peer = Peer2::start();
        let (mut ecm, mut sessions) = speaks.start(&peer, ONE_AT_ONCE);
        let mut clients = Vec::new();
        for waiting in 0..3 {
            clients.push(speaks.begin(&ecm));
            wait_for_logins(&mut ecm, 1, waiting);
        }
        let (first, ..) = sessions.opened();
        assert_nothing_comes(&mut sessions, speaks);
        sessions.send(first, &[FEATURES]);
        logs_in(&mut sessions);
        logs_in(&mut sessions);
        wait_for_logins(&mut ecm, 0, 0);
        let samples = scrape(&mut ecm);
        assert_eq!(samples["megaphone_ecm_login_wait_seconds_count"], 3.0);
    }
}

#[test]
fn each_step_of_a_login_has_its_turn_before_those_who_came_later() {
    for speaks in ALL {
        for (auth, answer) in [(AUTH, LOGIN[1]), (AUTHENTICATE, SUCCESS2)] {
            let peer = Peer2::start();
            let (mut ecm, mut sessions) = speaks.start(&peer, ONE_AT_ONCE);
            let mut first = speaks.begin(&ecm);
            wait_for_logins(&mut ecm, 1, 0);
            let _second = speaks.begin(&ecm);
            wait_for_logins(&mut ecm, 1, 1);
            let (id, ..) = sessions.opened();
            sessions.send(id, &[LOGIN[0], FEATURES]);
            let (second, ..) = sessions.opened();
            speaks.go_on(&mut first, auth);
            wait_for_logins(&mut ecm, 1, 1);
            let _third = speaks.begin(&ecm);
            wait_for_logins(&mut ecm, 1, 2);
            assert_nothing_comes(&mut sessions, speaks);
            sessions.send(second, &[FEATURES]);
            assert_eq!(sessions.document(id), auth, "{speaks:?}");
            wait_for_logins(&mut ecm, 1, 1);
            assert_nothing_comes(&mut sessions, speaks);
            sessions.send(id, &[answer]);
            logs_in(&mut sessions);
        }
    }
}

#[test]
fn who_leaves_while_its_step_waits_takes_no_turn() {
    for speaks in [Speaks::Xmpp, Speaks::WebSocket] {
        let peer = Peer2::start();
        let (mut ecm, mut sessions) = speaks.start(&peer, ONE_AT_ONCE);
        let mut first = speaks.begin(&ecm);
        let (id, ..) = sessions.opened();
        sessions.send(id, &[LOGIN[0], FEATURES]);
        wait_for_logins(&mut ecm, 0, 0);
        let _second = speaks.begin(&ecm);
        let (second, ..) = sessions.opened();
        speaks.say(&mut first, AUTH);
        wait_for_logins(&mut ecm, 1, 1);
        drop(first);
        wait_for_logins(&mut ecm, 1, 0);
        // What it said is not said for it any more.
        sessions.send(second, &[FEATURES]);
        wait_for_logins(&mut ecm, 0, 0);
        while let Some(seen) = sessions.trunk.next_within(Duration::from_millis(20)) {
            if let Seen::Data(_, data) = seen {
                assert!(
                    !data.windows(5).any(|bytes| bytes == b"<auth"),
                    "{speaks:?}"
                );
            }
        }
    }
}

#[test]
fn who_waits_for_too_long_with_a_step_is_told_to_come_again() {
    for speaks in ALL {
        let peer = Peer2::start();
        let limits = format!("{ONE_AT_ONCE}auth_timeout = \"2s\"\n");
        let (mut ecm, mut sessions) = speaks.start(&peer, &limits);
        let mut first = speaks.begin(&ecm);
        let (id, ..) = sessions.opened();
        sessions.send(id, &[LOGIN[0], FEATURES]);
        wait_for_logins(&mut ecm, 0, 0);
        let _second = speaks.begin(&ecm);
        sessions.opened();
        speaks.go_on(&mut first, AUTH);
        speaks.expect_refusal(&mut first);
        let refused = "megaphone_ecm_refusals_total{reason=\"login_wait\"}";
        wait_for(&mut ecm, refused, 1.0);
    }
}

#[test]
fn who_leaves_while_it_waits_takes_no_turn() {
    for speaks in ALL {
        let peer = Peer2::start();
        let (mut ecm, mut sessions) = speaks.start(&peer, ONE_AT_ONCE);
        let _first = speaks.begin(&ecm);
        wait_for_logins(&mut ecm, 1, 0);
        let leaves = speaks.begin(&ecm);
        wait_for_logins(&mut ecm, 1, 1);
        drop(leaves);
        wait_for_logins(&mut ecm, 1, 0);
        let _last = speaks.begin(&ecm);
        wait_for_logins(&mut ecm, 1, 1);
        logs_in(&mut sessions);
        logs_in(&mut sessions);
        wait_for_logins(&mut ecm, 0, 0);
        assert_nothing_comes(&mut sessions, speaks);
    }
}

#[test]
fn who_waits_for_too_long_is_told_to_come_again() {
    for speaks in ALL {
        let peer = Peer2::start();
        let limits = format!("{ONE_AT_ONCE}login_wait = \"50ms\"\n");
        let (mut ecm, mut sessions) = speaks.start(&peer, &limits);
        let _first = speaks.begin(&ecm);
        wait_for_logins(&mut ecm, 1, 0);
        let mut second = speaks.begin(&ecm);
        speaks.expect_refusal(&mut second);
        wait_for_logins(&mut ecm, 1, 0);
        let samples = scrape(&mut ecm);
        let refused = "megaphone_ecm_refusals_total{reason=\"login_wait\"}";
        assert_eq!(samples[refused], 1.0, "{speaks:?}");
        logs_in(&mut sessions);
    }
}

#[test]
fn the_end_of_a_login_lets_the_next_one_in_however_it_ends() {
    for speaks in ALL {
        let peer = Peer2::start();
        let (mut ecm, mut sessions) = speaks.start(&peer, ONE_AT_ONCE);
        let first = speaks.begin(&ecm);
        wait_for_logins(&mut ecm, 1, 0);
        let _second = speaks.begin(&ecm);
        wait_for_logins(&mut ecm, 1, 1);
        let (id, ..) = sessions.opened();
        if speaks == Speaks::Bosh {
            // The client may come back: the end is ejabberd's.
            sessions.trunk.reset(id);
        } else {
            drop(first);
        }
        let next = loop {
            match sessions.trunk.next() {
                Seen::Opened(id, _) => break id,
                // That the client is gone.
                Seen::Data(other, _) => assert_eq!(other, id),
                Seen::Reset(other) | Seen::Finished(other) => assert_eq!(other, id),
                other => panic!("expected a session, got {other:?}"),
            }
        };
        assert_eq!(sessions.document(next), OPEN, "{speaks:?}");
    }
}

#[test]
fn what_a_client_sends_while_it_waits_comes_after_its_stream() {
    for speaks in [Speaks::Xmpp, Speaks::WebSocket] {
        let peer = Peer2::start();
        let (mut ecm, mut sessions) = speaks.start(&peer, ONE_AT_ONCE);
        let _first = speaks.begin(&ecm);
        wait_for_logins(&mut ecm, 1, 0);
        let mut second = speaks.begin(&ecm);
        // None of them is a step of a login, for whose answer the next one would wait.
        let iqs = [1, 2].map(|id| format!("<iq xmlns='jabber:client' id='{id}'/>"));
        for iq in &iqs {
            speaks.say(&mut second, iq);
        }
        wait_for_logins(&mut ecm, 1, 1);
        logs_in(&mut sessions);
        let id = logs_in(&mut sessions);
        for iq in iqs {
            assert_eq!(sessions.document(id), iq, "{speaks:?}");
        }
    }
}

#[test]
fn a_new_limit_holds_for_those_who_wait() {
    let peer = Peer2::start();
    let (mut ecm, mut sessions) = Speaks::Xmpp.start(&peer, ONE_AT_ONCE);
    let _clients: [Client; 3] = std::array::from_fn(|_| Speaks::Xmpp.begin(&ecm));
    wait_for_logins(&mut ecm, 1, 2);
    let config = std::fs::read_to_string(&ecm.config).unwrap();
    let config = config.replace("logins_at_once = 1", "logins_at_once = 0");
    std::fs::write(&ecm.config, config).unwrap();
    ecm.signal("HUP");
    for _ in 0..3 {
        sessions.opened();
    }
    wait_for_logins(&mut ecm, 3, 0);
}

#[test]
fn a_bosh_client_that_has_to_be_answered_before_its_turn_waits_with_its_next_request() {
    let peer = Peer2::start();
    let (mut ecm, mut sessions) = Speaks::Bosh.start(&peer, ONE_AT_ONCE);
    let _first = Speaks::Bosh.begin(&ecm);
    wait_for_logins(&mut ecm, 1, 0);
    let mut client = ecm.client();
    let version = "xmpp:version='1.0' xmlns:xmpp='urn:xmpp:xbosh'";
    post(
        &mut client,
        &format!("rid='1' to='a' wait='1' hold='1' ver='1.11' {version}"),
        "",
    );
    let answer = client.until("/>");
    let sid = answer.split(" sid='").nth(1).unwrap();
    let sid = sid.split('\'').next().unwrap();
    wait_for_logins(&mut ecm, 1, 1);
    post(&mut client, &format!("rid='2' sid='{sid}'"), "");
    logs_in(&mut sessions);
    logs_in(&mut sessions);
    let answer = client.until("</body>");
    assert!(answer.contains("<success "), "{answer}");
}

//! Sessions that move to another trunk while their clients stay connected.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::metrics::{METRICS, scrape};
use common::sessions::Sessions;
use common::v2::{FIRST, Peer2, Seen, Trunk2};
use common::{Client, Ecm, PATIENCE};
use megaphone_trunk::proxy::Header;
use megaphone_trunk::v2::Config;
use megaphone_xmpp::framing::{Control, put_control, read_control};

const HEADER: &str = "<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' \
                      to='a' version='1.0'>";
const LOGIN: [&str; 3] = [
    "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' id='1' from='a' version='1.0'/>",
    "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>",
    "<iq xmlns='jabber:client' type='result' id='bind'/>",
];

/// A trunk whose ejabberd says this of which sessions can come.
fn accept(peer: &Peer2, version: Option<&'static str>) -> Sessions {
    let (stream, _) = peer.listener.accept().unwrap();
    stream.set_nodelay(true).unwrap();
    let mut trunk = Trunk2::new(stream, Config::default());
    trunk.version = version;
    while !trunk.was_asked() {
        trunk.read(PATIENCE);
    }
    Sessions::new(trunk)
}

fn start(trunks: usize, more: &str) -> (Peer2, Ecm) {
    let peer = Peer2::start();
    let address = peer.address;
    let ecm = Ecm::start_with_config(&format!(
        "[log]\nlevel = \"debug\"\n[[listener]]\naddress = \"127.0.0.1:0\"\nkind = \"xmpp\"\nstarttls = \"off\"\n\
         [trunk]\naddress = \"{address}\"\ntrunks = {trunks}\nbackoff_min = \"10ms\"\nbackoff_max = \"50ms\"\n\
         {METRICS}{more}"
    ));
    (peer, ecm)
}

/// A client that is online, and its stream.
#[track_caller]
fn log_in(ecm: &Ecm, sessions: &mut Sessions) -> (Client, u32) {
    let mut client = ecm.client();
    client.send(HEADER);
    let (id, _, _) = sessions.opened();
    sessions.send(id, &LOGIN[..2]);
    client.until("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>");
    client.send(HEADER);
    assert!(sessions.document(id).starts_with("<open "));
    sessions.send(id, &[LOGIN[0], LOGIN[2]]);
    client.until("id='bind'/>");
    (client, id)
}

/// What is said of a move next on a stream.
#[track_caller]
fn control(sessions: &mut Sessions, id: u32) -> String {
    match sessions.trunk.next_on(id) {
        Seen::Data(_, bytes) => {
            let (control, length) = read_control(&bytes).unwrap().unwrap();
            sessions.unread(id, &bytes[length..]);
            format!("{control:?}")
        }
        other => panic!("expected a control message, got {other:?}"),
    }
}

fn say(sessions: &mut Sessions, id: u32, control: &Control<'_>) {
    let mut message = Vec::new();
    put_control(&mut message, control).unwrap();
    sessions.trunk.send(id, &message);
}

/// A session that comes with this token.
#[track_caller]
fn taken(sessions: &mut Sessions, token: &[u8]) -> (u32, Header) {
    match sessions.trunk.next() {
        Seen::Opened(id, header) => {
            assert_eq!(header.takeover.as_deref(), Some(token));
            (id, *header)
        }
        other => panic!("expected a session, got {other:?}"),
    }
}

#[track_caller]
fn moves(ecm: &mut Ecm, result: &str) -> f64 {
    let name = format!("megaphone_ecm_moves_total{{result=\"{result}\"}}");
    scrape(ecm)[&name]
}

#[test]
fn a_trunk_that_is_told_to_go_away_is_left_for_the_next_one() {
    let (peer, mut ecm) = start(1, "");
    let mut old = accept(&peer, Some("v"));
    ecm.wait_for_log("which sessions can come");
    let (mut client, id) = log_in(&ecm, &mut old);
    assert_eq!(id, FIRST);
    let mut before = ecm.client();
    before.send(HEADER);
    let (not_logged_in, _, _) = old.opened();
    old.trunk.go_away();
    let mut new = accept(&peer, Some("v"));
    assert_eq!(control(&mut old, id), "Mark");
    client.send("<message id='1'/>");
    old.send(id, &["<message xmlns='jabber:client' id='a'/>"]);
    say(&mut old, id, &Control::Token(b"secret"));
    let (next, header) = taken(&mut new, b"secret");
    assert_eq!(header.addresses, header_of(&client));
    new.send(next, &["<message xmlns='jabber:client' id='c'/>"]);
    old.send(id, &["<message xmlns='jabber:client' id='b'/>"]);
    say(&mut old, id, &Control::Moved);
    old.trunk.finish(id);
    assert_eq!(
        client.until("id='c'/>"),
        "<message id='a'/><message id='b'/><message id='c'/>"
    );
    assert_eq!(control(&mut new, next), "Go");
    assert!(new.document(next).contains("id='1'"));
    assert_eq!(old.trunk.next_on(id), Seen::Finished(id));
    client.send("<message id='2'/>");
    assert!(new.document(next).contains("id='2'"));
    assert_eq!(moves(&mut ecm, "moved"), 1.0);
    ecm.wait_for_log("its sessions move to other trunks");
    // One that has not logged in is not asked, and ends as ever; then the trunk is done with.
    drop(before);
    assert!(!old.said_to_the_end(not_logged_in).is_empty());
    assert_eq!(old.trunk.next(), Seen::End);
    ecm.wait_for_log("sessions have finished leaving a trunk");
}

#[test]
fn where_sessions_can_not_go_they_stay_as_ever() {
    for version in [None, Some("w")] {
        let (peer, mut ecm) = start(1, "");
        let mut old = accept(&peer, Some("v"));
        ecm.wait_for_log("which sessions can come");
        let (mut client, id) = log_in(&ecm, &mut old);
        old.trunk.go_away();
        let _new = accept(&peer, version);
        ecm.wait_for_log("its sessions stay for now, as no other trunk can take them");
        client.send("<message id='1'/>");
        assert!(old.document(id).contains("id='1'"));
        old.send(id, &["<message xmlns='jabber:client' id='a'/>"]);
        client.until("id='a'/>");
    }
}

#[test]
fn so_many_move_at_once() {
    let (peer, mut ecm) = start(1, "[nodes]\nmoves_at_once = 2\n");
    let mut old = accept(&peer, Some("v"));
    ecm.wait_for_log("which sessions can come");
    let mut all: Vec<_> = (0..5).map(|_| log_in(&ecm, &mut old)).collect();
    old.trunk.go_away();
    let mut new = accept(&peer, Some("v"));
    let mut stay = Vec::new();
    while !all.is_empty() {
        let mut marked = Vec::new();
        for _ in 0..2.min(all.len()) {
            match old.trunk.next() {
                Seen::Data(id, bytes) => {
                    assert_eq!(read_control(&bytes), Ok(Some((Control::Mark, 4))));
                    marked.push(id);
                }
                other => panic!("expected a mark, got {other:?}"),
            }
        }
        let more = old.trunk.next_within(std::time::Duration::from_millis(100));
        assert_eq!(more, None);
        for id in marked {
            say(&mut old, id, &Control::Token(b"secret"));
            let (next, _) = taken(&mut new, b"secret");
            say(&mut old, id, &Control::Moved);
            old.trunk.finish(id);
            assert_eq!(control(&mut new, next), "Go");
            assert_eq!(old.trunk.next_on(id), Seen::Finished(id));
            new.send(next, &["<message xmlns='jabber:client' id='a'/>"]);
            let place = all.iter().position(|(_, other)| *other == id).unwrap();
            let (mut client, _) = all.remove(place);
            client.until("id='a'/>");
            // It stays as long as the others move.
            stay.push(client);
        }
    }
    assert_eq!(moves(&mut ecm, "moved"), 5.0);
}

#[test]
fn one_that_could_not_move_tries_again() {
    let (peer, mut ecm) = start(1, "");
    let mut old = accept(&peer, Some("v"));
    ecm.wait_for_log("which sessions can come");
    let (mut client, id) = log_in(&ecm, &mut old);
    old.trunk.go_away();
    let mut new = accept(&peer, Some("v"));
    assert_eq!(control(&mut old, id), "Mark");
    say(&mut old, id, &Control::Stays("not now"));
    client.send("<message id='1'/>");
    assert!(old.document(id).contains("id='1'"));
    assert_eq!(control(&mut old, id), "Mark");
    say(&mut old, id, &Control::Token(b"secret"));
    let (next, _) = taken(&mut new, b"secret");
    say(&mut new, next, &Control::Refused("Token is old"));
    new.trunk.finish(next);
    assert_eq!(control(&mut old, id), "Stay");
    say(&mut old, id, &Control::Stays("the ECM wants it"));
    assert_eq!(moves(&mut ecm, "stayed"), 1.0);
    client.send("<message id='2'/>");
    assert!(old.document(id).contains("id='2'"));
    assert_eq!(moves(&mut ecm, "refused"), 1.0);
}

/// Its addresses, as a header has them.
fn header_of(client: &Client) -> megaphone_trunk::proxy::Addresses {
    megaphone_trunk::proxy::Addresses::Inet {
        source: client.stream.local_addr().unwrap(),
        destination: client.stream.peer_addr().unwrap(),
    }
}

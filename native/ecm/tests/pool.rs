//! Several trunks of version 2 to one ejabberd: who goes where, and what happens when one goes.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::{Duration, Instant};

use megaphone_trunk::v2::Config;

use common::v2::{Peer2, Seen, Trunk2, config};
use common::{Client, Ecm, get, ok, status};

/// The trunk that has a new stream, its place, and the stream.
#[track_caller]
fn find_opened(trunks: &mut [Trunk2]) -> (usize, u32) {
    let until = Instant::now() + common::PATIENCE;
    while Instant::now() < until {
        for (place, trunk) in trunks.iter_mut().enumerate() {
            match trunk.next_within(Duration::from_millis(2)) {
                Some(Seen::Opened(id, _)) => {
                    assert!(matches!(trunk.next_on(id), Seen::Data(..)));
                    return (place, id);
                }
                None => {}
                Some(other) => panic!("expected a new stream, got {other:?}"),
            }
        }
    }
    panic!("no stream opened");
}

/// Clients that each have a request in flight, with the place of their trunk and their stream.
fn ask(ecm: &Ecm, trunks: &mut [Trunk2], clients: usize) -> Vec<(Client, usize, u32)> {
    let one = |_| {
        let mut client = ecm.client();
        client.send(&get("/"));
        let (place, id) = find_opened(trunks);
        (client, place, id)
    };
    (0..clients).map(one).collect()
}

#[test]
fn each_client_goes_to_the_trunk_with_the_fewest_and_stays() {
    let peer = Peer2::start();
    let (ecm, mut trunks) = peer.start_ecm(4, "");
    let mut clients = ask(&ecm, &mut trunks, 12);
    for place in 0..4 {
        let count = clients.iter().filter(|client| client.1 == place).count();
        assert_eq!(count, 3, "on trunk {place}");
    }
    for (client, place, id) in &mut clients {
        trunks[*place].answer(*id, "1");
        client.expect(&ok("1"));
        client.send(&get("/2"));
        assert_eq!(trunks[*place].data().0, *id);
        trunks[*place].answer(*id, "2");
        client.expect(&ok("2"));
    }
    // Two leave the same trunk: the next two take their places.
    let leaving = clients[0].1;
    let mut left = 0;
    clients.retain(|(_, place, _)| {
        let leaves = *place == leaving && left < 2;
        left += usize::from(leaves);
        !leaves
    });
    for _ in 0..2 {
        assert!(matches!(trunks[leaving].next(), Seen::Finished(_)));
    }
    for (_, place, _) in ask(&ecm, &mut trunks, 2) {
        assert_eq!(place, leaving);
    }
}

#[test]
fn a_lost_trunk_is_redialled_and_costs_its_own_clients_alone() {
    let peer = Peer2::start();
    let (mut ecm, mut trunks) = peer.start_ecm(2, "");
    let clients = ask(&ecm, &mut trunks, 4);
    let lost = clients[0].1;
    drop(trunks.remove(lost));
    let mut kept = Vec::new();
    for (mut client, place, id) in clients {
        if place == lost {
            let answer = client.rest();
            assert_eq!(status(&answer), 502, "{answer}");
        } else {
            trunks[0].answer(id, "kept");
            client.expect(&ok("kept"));
            kept.push(client);
        }
    }
    assert_eq!(kept.len(), 2);
    let line = ecm.wait_for_log("a trunk to");
    assert!(line.contains("1 left: closed by ejabberd"), "{line}");
    trunks.push(peer.accept());
    ecm.wait_for_log("is up");
    // The new one has none yet.
    let places: Vec<_> = ask(&ecm, &mut trunks, 2)
        .iter()
        .map(|client| client.1)
        .collect();
    assert_eq!(places, [1, 1]);
}

#[test]
fn after_a_go_away_answers_finish_and_another_trunk_takes_the_rest() {
    let peer = Peer2::start();
    let (mut ecm, mut trunks) = peer.start_ecm(1, "");
    let mut clients = ask(&ecm, &mut trunks, 2);
    let (mut busy, _, busy_id) = clients.remove(0);
    let (mut idle, _, idle_id) = clients.remove(0);
    trunks[0].answer(idle_id, "1");
    idle.expect(&ok("1"));
    let mut old = trunks.remove(0);
    old.go_away();
    ecm.wait_for_log("takes no more connections");
    assert_eq!(old.next(), Seen::Finished(idle_id));
    old.finish(idle_id);
    let mut new = peer.accept();
    ecm.wait_for_log("is up");
    // The idle client goes on in the new trunk, the busy one is answered in the old one.
    idle.send(&get("/2"));
    let (id, ..) = new.opened();
    new.answer(id, "2");
    idle.expect(&ok("2"));
    old.answer(busy_id, "late");
    busy.expect(&ok("late"));
    assert_eq!(old.next(), Seen::Finished(busy_id));
    old.finish(busy_id);
    assert_eq!(old.next(), Seen::End);
    busy.send(&get("/3"));
    let (id, ..) = new.opened();
    new.answer(id, "3");
    busy.expect(&ok("3"));
}

#[test]
fn each_go_away_is_followed_by_another_trunk_at_once() {
    let peer = Peer2::start();
    let config = config(&peer.address.to_string(), 1, "");
    // If each of them counted as a failure the last ones would take a minute.
    let mut ecm = Ecm::start_with_config(&config.replace("50ms", "1h"));
    let started = Instant::now();
    for _ in 0..12 {
        let mut trunk = peer.accept();
        ecm.wait_for_log("is up");
        trunk.go_away();
        ecm.wait_for_log("takes no more connections");
    }
    assert!(started.elapsed() < Duration::from_secs(10));
}

#[test]
fn a_trunk_that_begins_with_a_go_away_is_never_up() {
    let peer = Peer2::start();
    let mut ecm = peer.start_ecm_only(1, "");
    for _ in 0..2 {
        let (stream, _) = peer.listener.accept().unwrap();
        let mut trunk = Trunk2::new(stream, Config::default());
        trunk.go_away();
        assert_eq!(trunk.next(), Seen::End);
        ecm.wait_for_log("ended in order");
    }
    assert_eq!(ecm.logged("is up"), 0);
}

#[test]
fn sigterm_lets_answers_finish_and_says_go_away() {
    let peer = Peer2::start();
    let (mut ecm, mut trunks) = peer.start_ecm(2, "");
    let mut clients = ask(&ecm, &mut trunks, 2);
    let (mut idle, idle_place, idle_id) = clients.remove(0);
    trunks[idle_place].answer(idle_id, "idle");
    idle.expect(&ok("idle"));
    let (mut busy, busy_place, busy_id) = clients.remove(0);
    assert_ne!(idle_place, busy_place);
    ecm.signal("TERM");
    assert_eq!(idle.rest(), "");
    drop(idle);
    assert_eq!(trunks[idle_place].next(), Seen::Finished(idle_id));
    trunks[idle_place].finish(idle_id);
    trunks[busy_place].answer(busy_id, "finished");
    assert_eq!(busy.rest(), ok("finished"));
    drop(busy);
    assert_eq!(trunks[busy_place].next(), Seen::Finished(busy_id));
    trunks[busy_place].finish(busy_id);
    for trunk in &mut trunks {
        assert_eq!(trunk.next(), Seen::GoAway);
        assert_eq!(trunk.next(), Seen::End);
    }
    assert_eq!(ecm.wait_for_exit().code(), Some(0));
}

#[test]
fn shutdown_timeout_resets_what_does_not_finish() {
    let peer = Peer2::start();
    let (mut ecm, mut trunks) = peer.start_ecm(1, "[limits]\nshutdown_timeout = \"50ms\"\n");
    let mut clients = ask(&ecm, &mut trunks, 1);
    let (mut client, _, id) = clients.remove(0);
    ecm.signal("TERM");
    assert_eq!(client.rest(), "");
    assert_eq!(trunks[0].next(), Seen::Reset(id));
    assert_eq!(trunks[0].next(), Seen::GoAway);
    assert_eq!(trunks[0].next(), Seen::End);
    assert_eq!(ecm.wait_for_exit().code(), Some(0));
}

#[test]
fn trunks_can_be_unix_sockets() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("pool-{}", std::process::id()));
    let _ = std::fs::remove_file(&path);
    let listener = UnixListener::bind(&path).unwrap();
    let address = format!("unix:{}", path.display());
    let mut ecm = Ecm::start_with_config(&config(&address, 2, ""));
    let mut trunks: Vec<_> = (0..2)
        .map(|_| Trunk2::greeted(listener.accept().unwrap().0))
        .collect();
    for _ in 0..2 {
        ecm.wait_for_log("is up");
    }
    for (mut client, place, id) in ask(&ecm, &mut trunks, 4) {
        trunks[place].answer(id, "unix");
        client.expect(&ok("unix"));
    }
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn a_trunk_that_is_accepted_and_never_answered_is_never_up_and_told_once() {
    let peer = Peer2::start();
    let mut ecm = peer.start_ecm_only(2, "connect_timeout = \"100ms\"\n");
    let kept = peer.accept();
    ecm.wait_for_log("is up");
    for _ in 0..3 {
        ecm.wait_for_log("next attempt in");
    }
    assert_eq!(ecm.logged("is up"), 1);
    assert_eq!(ecm.logged("WARN a trunk"), 1);
    drop(kept);
    let line = ecm.wait_for_log("WARN no trunk");
    assert!(line.contains("closed by ejabberd"), "{line}");
    assert_eq!(status(&ask_in_vain(&ecm)), 503);
}

fn ask_in_vain(ecm: &Ecm) -> String {
    let mut client = ecm.client();
    client.send(&get("/"));
    client.rest()
}

//! Several ejabberd nodes: which one gets what, and what happens when one is in trouble.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use common::fleet::{TestNode, begin, log_in, log_in_one, start, wait_until};
use common::metrics::{ask, scrape, wait_for};
use common::{Client, Ecm, get, ok, status};

/// No slow start, and quick to see what is wrong.
const QUICK: &str = "[nodes]\nslow_start = \"0s\"\nping_interval = \"1s\"\nping_timeout = \"1s\"\n\
    login_timeout = \"100ms\"\neject_after = 3\neject_min = \"500ms\"\n";

fn node(ecm: &mut Ecm, metric: &str, name: &str) -> f64 {
    scrape(ecm)[&format!("megaphone_ecm_node_{metric}{{node=\"{name}\"}}")]
}

#[test]
fn sessions_are_shared_by_weight_and_stay() {
    let (a, b) = (TestNode::start(), TestNode::start());
    let mut ecm = start(&[&a, &b], &["weight = 1\n", "weight = 3\n"], QUICK);
    let clients = log_in(&ecm, 40);
    assert_eq!((a.sessions(), b.sessions()), (10, 30));
    assert_eq!(node(&mut ecm, "sessions", "a"), 10.0);
    assert_eq!(node(&mut ecm, "sessions", "b"), 30.0);
    let answer = ask(&mut ecm, &get("/health"));
    assert!(answer.contains("\r\n\r\n4 trunks are up\n"), "{answer}");
    assert!(
        answer.contains("\na: ready, well, trunks: 2, sessions: 10\n"),
        "{answer}"
    );
    drop(clients);
    wait_for(&mut ecm, "megaphone_ecm_node_sessions{node=\"b\"}", 0.0);
    wait_for(&mut ecm, "megaphone_ecm_node_sessions{node=\"a\"}", 0.0);
}

#[test]
fn no_node_has_more_sessions_than_it_may() {
    let (a, b) = (TestNode::start(), TestNode::start());
    let limits = ["max_sessions = 2\n", "max_sessions = 3\n"];
    let mut ecm = start(&[&a, &b], &limits, QUICK);
    let mut clients = log_in(&ecm, 5);
    assert_eq!((a.sessions(), b.sessions()), (2, 3));
    let mut refused = begin(&ecm);
    let error = refused.rest();
    assert!(error.contains("<remote-connection-failed "), "{error}");
    let answer = ask(&mut ecm, &get("/health"));
    assert_eq!(status(&answer), 503, "{answer}");
    assert!(answer.contains("and no node takes sessions"), "{answer}");
    clients.pop();
    wait_until("room", || {
        let mut count = |name| node(&mut ecm, "sessions", name);
        let (a, b) = (count("a"), count("b"));
        a + b < 5.0
    });
    log_in_one(&ecm);
}

#[test]
fn a_node_that_is_lost_costs_its_own_clients_and_gets_its_share_again_slowly() {
    let (a, b) = (TestNode::start(), TestNode::start());
    let mut ecm = start(&[&a, &b], &[], "[nodes]\nslow_start = \"1h\"\n");
    // Both started at the same time.
    let mut clients = log_in(&ecm, 8);
    assert_eq!((a.sessions(), b.sessions()), (4, 4));
    let address = b.address;
    drop(b);
    ecm.wait_for_log("WARN no trunk to b");
    wait_until("the end of b's sessions", || {
        node(&mut ecm, "sessions", "b") == 0.0
    });
    assert_eq!(node(&mut ecm, "usable", "b"), 0.0);
    assert_eq!(node(&mut ecm, "sessions", "a"), 4.0);
    clients.extend(log_in(&ecm, 36));
    assert_eq!(a.sessions(), 40);
    let b = TestNode::start_at(address);
    ecm.wait_for_log("trunk to b");
    wait_until("b's return", || node(&mut ecm, "usable", "b") == 1.0);
    // It has a twentieth of its weight, so of 20 more no more than a twentieth of a's 60.
    clients.extend(log_in(&ecm, 20));
    assert!((1..=3).contains(&b.sessions()), "{}", b.sessions());
    assert!(node(&mut ecm, "share", "b") < 0.1);
}

#[test]
fn a_silent_node_is_ejected_keeps_its_sessions_and_comes_back() {
    let (a, b) = (TestNode::start(), TestNode::start());
    let mut ecm = start(&[&a, &b], &[], QUICK);
    let mut clients = log_in(&ecm, 4);
    b.stop();
    let line = ecm.wait_for_log("node b is ejected");
    assert!(line.contains("it does not answer pings"), "{line}");
    assert_eq!(node(&mut ecm, "ejected", "b"), 1.0);
    let before = a.sessions();
    clients.extend(log_in(&ecm, 10));
    assert_eq!(a.sessions(), before + 10);
    for _ in 0..4 {
        assert_eq!(ask_for(&mut ecm), ok("here"));
    }
    assert_eq!((a.requests(), b.requests()), (4, 0));
    b.go_on();
    ecm.wait_for_log("node b is used again");
    assert_eq!(node(&mut ecm, "sessions", "b"), 2.0);
    // It has fewer.
    clients.extend(log_in(&ecm, 10));
    assert_eq!((a.sessions(), b.sessions()), (12, 12));
    assert_eq!(node(&mut ecm, "ejections_total", "b"), 1.0);
    assert_eq!(node(&mut ecm, "ejections_total", "a"), 0.0);
}

#[test]
fn a_node_that_answers_no_logins_is_ejected_and_comes_back() {
    let (a, b) = (TestNode::start(), TestNode::start());
    let mut ecm = start(&[&a, &b], &[], QUICK);
    b.mute();
    let _waiting: Vec<Client> = (0..6).map(|_| begin(&ecm)).collect();
    let line = ecm.wait_for_log("node b is ejected");
    assert!(line.contains("it does not answer logins"), "{line}");
    let before = b.sessions();
    let mut clients = log_in(&ecm, 6);
    assert_eq!(b.sessions(), before);
    b.go_on();
    ecm.wait_for_log("node b is used again");
    clients.extend(log_in(&ecm, 8));
    assert!(b.sessions() > before);
    assert_eq!(ecm.logged("node a is ejected"), 0);
}

#[test]
fn when_too_few_are_well_all_that_are_up_are_used() {
    let (a, b) = (TestNode::start(), TestNode::start());
    let mut ecm = start(&[&a, &b], &[], QUICK);
    a.mute();
    b.mute();
    let waiting: Vec<Client> = (0..8).map(|_| begin(&ecm)).collect();
    ecm.wait_for_log("fewer than 50% of the nodes are well");
    let before = a.sessions() + b.sessions();
    a.go_on();
    b.go_on();
    let clients = log_in(&ecm, 4);
    assert_eq!(a.sessions() + b.sessions(), before + 4);
    ecm.wait_for_log("enough nodes are well again");
    drop((waiting, clients));
}

#[test]
fn a_slow_node_holds_up_no_login_of_another() {
    let (a, b) = (TestNode::start(), TestNode::start());
    let limits =
        "[nodes]\nslow_start = \"0s\"\nlogin_timeout = \"1h\"\n[limits]\nlogins_at_once = 1\n";
    let mut ecm = start(&[&a, &b], &[], limits);
    b.mute();
    // One of two goes to b, and waits there for good.
    let _waiting = [begin(&ecm), begin(&ecm)];
    wait_until("a login at b", || b.sessions() == 1);
    wait_until("the end of a's login", || {
        node(&mut ecm, "logins_running", "a") == 0.0
    });
    let clients = log_in(&ecm, 10);
    assert_eq!((a.sessions(), b.sessions()), (11, 1));
    assert_eq!(node(&mut ecm, "logins_running", "b"), 1.0);
    drop(clients);
}

#[test]
fn requests_go_to_any_node_that_is_ready() {
    let (a, b) = (TestNode::start(), TestNode::start());
    let mut ecm = start(&[&a, &b], &[], QUICK);
    // Each stays connected, so that the next one goes to the other node.
    let address = ecm.listener("http");
    let mut clients = Vec::new();
    for _ in 0..6 {
        let mut client = Client::connect(address);
        client.send(&get("/"));
        client.expect(&ok("here"));
        clients.push(client);
    }
    assert_eq!((a.requests(), b.requests()), (3, 3));
    assert_eq!(node(&mut ecm, "http_connections", "a"), 3.0);
    drop(b);
    ecm.wait_for_log("WARN no trunk to b");
    for _ in 0..4 {
        assert_eq!(ask_for(&mut ecm), ok("here"));
    }
    assert_eq!(a.requests(), 7);
}

#[test]
fn a_node_that_says_go_away_keeps_its_sessions_and_gets_none() {
    let (a, b) = (TestNode::start(), TestNode::start());
    let mut ecm = start(&[&a, &b], &[], QUICK);
    let mut clients = log_in(&ecm, 6);
    b.leave();
    wait_until("b's leaving", || node(&mut ecm, "usable", "b") == 0.0);
    clients.extend(log_in(&ecm, 6));
    assert_eq!((a.sessions(), b.sessions()), (9, 3));
    assert_eq!(node(&mut ecm, "sessions", "b"), 3.0);
}

#[test]
fn the_only_node_may_have_a_name_too() {
    let a = TestNode::start();
    let mut ecm = start(&[&a], &[], "");
    assert_eq!(ecm.logged("trunk to a is up"), 2);
    let _clients = log_in(&ecm, 2);
    let answer = ask(&mut ecm, &get("/health"));
    assert!(answer.ends_with("\r\n\r\n2 trunks are up\n"), "{answer}");
}

#[track_caller]
fn ask_for(ecm: &mut Ecm) -> String {
    let mut client = Client::connect(ecm.listener("http"));
    client.send(&get("/"));
    client.until("here")
}

//! Several ECMs as one: a BOSH session is asked for at any of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use common::authority::Authority;
use common::metrics::{METRICS, scrape, wait_for};
use common::sessions::Sessions;
use common::v2::{self, Peer2};
use common::{Client, Ecm, PATIENCE, refuses_config, status};
use megaphone_trunk::v2::StreamId;

const NS: &str = "xmlns='http://jabber.org/protocol/httpbind' xmlns:xmpp='urn:xmpp:xbosh'";
const OPEN: &str =
    "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' id='i1' from='a.example' version='1.0'/>";
const FEATURES: &str = "<stream:features xmlns:stream='http://etherx.jabber.org/streams'/>";
const NAMES: [&str; 3] = ["one", "two", "three"];
const FIRST: &str = "Zmlyc3QgZmlyc3QgZmlyc3QgZmlyc3QgZmlyc3QgZmlyc3Q=";
const SECOND: &str = "c2Vjb25kIHNlY29uZCBzZWNvbmQgc2Vjb25kIHNlY29uZCE=";
const NOT_FOUND: &str = "<body xmlns='http://jabber.org/protocol/httpbind' type='terminate' \
    condition='item-not-found'/>";
const TRY_AGAIN: &str = "<body xmlns='http://jabber.org/protocol/httpbind' type='error'/>";
const EMPTY: &str = "<body xmlns='http://jabber.org/protocol/httpbind'/>";

/// One ECM, and its ejabberd.
struct Member {
    ecm: Ecm,
    ejabberd: Sessions,
    /// Where other ECMs connect.
    address: SocketAddr,
    /// Its configuration, before it knows of peers.
    config: String,
}

impl Member {
    fn start(name: &str, key: &Path, more: &str) -> Self {
        let more = format!(
            "{METRICS}[fleet]\nname = \"{name}\"\nkey = \"{}\"\naddress = \"127.0.0.1:0\"\npeers = {{}}\n{more}",
            key.display()
        );
        let peer = Peer2::start();
        let config = v2::config(&peer.address.to_string(), 1, &more);
        let mut ecm = Ecm::start_with_config(&config);
        let ejabberd = Sessions::new(peer.accept());
        ecm.wait_for_log("is up");
        let line = ecm.find_in_log("other ECMs connect at ");
        let rest = line.split("connect at ").nth(1).unwrap();
        let address = rest.split(' ').next().unwrap().parse().unwrap();
        Self {
            ecm,
            ejabberd,
            address,
            config,
        }
    }

    /// Tells it where the others are, and waits until it has read that.
    fn meet(&mut self, peers: &[(&str, SocketAddr)]) {
        let peers: Vec<_> = peers
            .iter()
            .map(|(name, address)| format!("{name} = \"{address}\""))
            .collect();
        let config = self
            .config
            .replace("peers = {}", &format!("peers = {{ {} }}", peers.join(", ")));
        std::fs::write(&self.ecm.config, config).unwrap();
        self.ecm.signal("HUP");
        self.ecm.wait_for_log("configuration reloaded");
    }

    fn value(&mut self, name: &str) -> f64 {
        scrape(&mut self.ecm)[&format!("megaphone_ecm_{name}")]
    }
}

/// Three ECMs that know each other.
struct Fleet {
    members: Vec<Member>,
    key: PathBuf,
}

impl Fleet {
    fn start(more: &str) -> Self {
        let key = key_file(&[FIRST]);
        let mut members: Vec<_> = NAMES
            .iter()
            .map(|name| Member::start(name, &key, more))
            .collect();
        let peers: Vec<_> = NAMES
            .into_iter()
            .zip(members.iter().map(|member| member.address))
            .collect();
        for member in &mut members {
            member.meet(&peers);
            wait_for(&mut member.ecm, "megaphone_ecm_fleet_peers_up", 2.0);
        }
        Self { members, key }
    }

    /// A session at the first.
    #[track_caller]
    fn session(&mut self) -> Session {
        Session::start(&mut self.members[0], "")
    }

    fn client(&self, member: usize) -> Client {
        self.members[member].ecm.client()
    }

    fn ejabberd(&mut self) -> &mut Sessions {
        &mut self.members[0].ejabberd
    }

    /// All read the key again.
    fn rotate(&mut self, lines: &[&str]) {
        std::fs::write(&self.key, lines.join("\n")).unwrap();
        let later = std::time::SystemTime::now() + Duration::from_secs(5 * lines.len() as u64);
        let file = std::fs::File::options().append(true).open(&self.key);
        file.unwrap().set_modified(later).unwrap();
        for member in &mut self.members {
            member.ecm.signal("HUP");
            member.ecm.wait_for_log("configuration reloaded");
        }
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.key);
    }
}

fn key_file(lines: &[&str]) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("fleet-{}-{number}.keys", std::process::id());
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, lines.join("\n")).unwrap();
    path
}

/// A session, and its stream in the trunk of the ECM that has it.
struct Session {
    sid: String,
    stream: u32,
}

impl Session {
    #[track_caller]
    fn start(member: &mut Member, fields: &str) -> Self {
        let mut client = member.ecm.client();
        let body = format!(
            "<body {NS} rid='100' to='a.example' ver='1.6' xmpp:version='1.0' hold='1' wait='60'/>"
        );
        client.send(&post(&body, fields));
        let (stream, _, first) = member.ejabberd.opened();
        assert!(first.starts_with("<open "));
        member.ejabberd.send(stream, &[OPEN, FEATURES]);
        let (_, body) = answer(&mut client);
        let sid = body.split(" sid='").nth(1).unwrap();
        Self {
            sid: sid.split('\'').next().unwrap().to_owned(),
            stream,
        }
    }

    fn request(&self, rid: u64, payload: &str) -> String {
        self.request_with(rid, payload, "")
    }

    fn request_with(&self, rid: u64, payload: &str, fields: &str) -> String {
        let sid = &self.sid;
        post(
            &format!("<body {NS} sid='{sid}' rid='{rid}'>{payload}</body>"),
            fields,
        )
    }
}

fn post(body: &str, fields: &str) -> String {
    format!(
        "POST /bosh HTTP/1.1\r\nHost: a.example\r\n{fields}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// The next answer: its head and its body.
#[track_caller]
fn answer(client: &mut Client) -> (String, String) {
    let head = client.until("\r\n\r\n");
    let length = head.split("Content-Length: ").nth(1).unwrap();
    let length = length.split('\r').next().unwrap().parse().unwrap();
    let mut body = vec![0; length];
    client.stream.read_exact(&mut body).unwrap();
    (head, String::from_utf8(body).unwrap())
}

fn message(id: u32) -> String {
    format!("<message xmlns='jabber:client' id='{id}'/>")
}

fn carrying(payload: &str) -> String {
    format!("<body xmlns='http://jabber.org/protocol/httpbind'>{payload}</body>")
}

/// A connection between two ECMs that can be cut.
struct Cable {
    address: SocketAddr,
    ends: Arc<Mutex<Vec<TcpStream>>>,
}

impl Cable {
    fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let ends = Arc::<Mutex<Vec<TcpStream>>>::default();
        let all = Arc::clone(&ends);
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let Ok(far) = TcpStream::connect(target) else {
                    continue;
                };
                let copy = |from: &TcpStream, to: &TcpStream| {
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Both);
                    });
                };
                copy(&near, &far);
                copy(&far, &near);
                all.lock().unwrap().extend([near, far]);
            }
        });
        Self { address, ends }
    }

    fn cut(&self) {
        for end in self.ends.lock().unwrap().drain(..) {
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

#[test]
fn a_session_is_served_through_any_ecm() {
    let mut fleet = Fleet::start("");
    let session = fleet.session();
    let (random, rest) = session.sid.split_once('-').unwrap();
    assert_eq!(random.len(), 32);
    assert!(rest.starts_with("one-"), "{rest}");
    let mut clients: Vec<_> = (0..3).map(|member| fleet.client(member)).collect();
    for round in 0..12 {
        let client = &mut clients[round as usize % 3];
        client.send(&session.request(101 + u64::from(round), &message(round)));
        let stream = session.stream;
        assert_eq!(fleet.ejabberd().document(stream), message(round));
        // It is held until there is something.
        fleet
            .ejabberd()
            .send(stream, &[&message(100 + round), &message(200 + round)]);
        let (head, body) = answer(client);
        assert_eq!(status(&head), 200);
        assert!(!head.contains("Connection"), "{head}");
        assert!(head.contains("\r\nAccess-Control-Allow-Origin: *\r\n"));
        assert_eq!(
            body,
            carrying(&(message(100 + round) + &message(200 + round)))
        );
    }
    assert_eq!(fleet.members[0].value("fleet_received_total"), 8.0);
    for member in 1..3 {
        assert_eq!(fleet.members[member].value("fleet_handed_on_total"), 4.0);
    }
}

#[test]
fn the_others_hand_on_to_the_program_that_replaces_an_ecm_and_it_to_the_one_before() {
    let mut fleet = Fleet::start("[limits]\nclose_spread = \"1h\"\n");
    let mut before: Vec<_> = (0..4).map(|_| (fleet.session(), fleet.client(1))).collect();
    for (session, two) in &mut before {
        two.send(&session.request(101, &message(1)));
        assert_eq!(fleet.ejabberd().document(session.stream), message(1));
    }
    let old = &mut fleet.members[0];
    let peer = Peer2::start();
    let (clients, others) = (old.ecm.address, old.address);
    let config = std::fs::read_to_string(&old.ecm.config).unwrap();
    let trunk = config.split("[trunk]\naddress = \"").nth(1).unwrap();
    let trunk = trunk.split('"').next().unwrap();
    let config = config
        .replace(trunk, &peer.address.to_string())
        .replace(
            "[[listener]]\naddress = \"127.0.0.1:0\"",
            &format!("[[listener]]\naddress = \"{clients}\""),
        )
        .replace("\"127.0.0.1:0\"\npeers", &format!("\"{others}\"\npeers"));
    let mut ecm = Ecm::start_with(&["--replaces", &old.ecm.id().to_string()], &config);
    let ejabberd = Sessions::new(peer.accept());
    ecm.wait_for_log("sessions of the ECM before this one are handed on to it");
    old.ecm.wait_for_log("leaving: clients are disconnected");
    let mut new = Member {
        ecm,
        ejabberd,
        address: others,
        config,
    };
    let two = &mut fleet.members[1].ecm;
    two.wait_for_log("has ended: it takes no more requests");
    // The other ECMs find the new one's.
    let session = Session::start(&mut new, "");
    let mut two = fleet.client(1);
    let asked = session.request(101, &message(2));
    loop {
        two.send(&asked);
        if new
            .ejabberd
            .trunk
            .next_within(Duration::from_millis(200))
            .is_some()
        {
            break;
        }
        // It connects to it at this moment.
        assert_eq!(answer(&mut two).1, TRY_AGAIN);
        two = fleet.client(1);
    }
    new.ejabberd.send(session.stream, &[&message(3)]);
    assert_eq!(answer(&mut two).1, carrying(&message(3)));
    // What was on its way comes by the old one, and what is asked for now by the new one from the old one.
    let mut served = 0;
    for (session, two) in &mut before {
        fleet.ejabberd().send(session.stream, &[&message(4)]);
        let (_, body) = answer(two);
        // The first of 64 groups is let go at once.
        if !body.contains("system-shutdown") {
            assert_eq!(body, carrying(&message(4)));
            let mut three = fleet.client(2);
            three.send(&session.request(102, &message(5)));
            assert_eq!(fleet.ejabberd().document(session.stream), message(5));
            fleet.ejabberd().send(session.stream, &[&message(6)]);
            assert_eq!(answer(&mut three).1, carrying(&message(6)));
            served += 1;
        }
    }
    assert!(served > 0);
}

#[test]
fn requests_are_taken_in_their_order_whichever_ecm_they_come_by() {
    let mut fleet = Fleet::start("");
    let session = fleet.session();
    let (mut two, mut three) = (fleet.client(1), fleet.client(2));
    two.send(&session.request(102, &message(2)));
    wait_for(
        &mut fleet.members[0].ecm,
        "megaphone_ecm_fleet_received_total",
        1.0,
    );
    three.send(&session.request(101, &message(1)));
    let stream = session.stream;
    assert_eq!(fleet.ejabberd().document(stream), message(1));
    assert_eq!(fleet.ejabberd().document(stream), message(2));
    assert_eq!(answer(&mut three).1, EMPTY);
    fleet.ejabberd().send(stream, &[&message(3)]);
    assert_eq!(answer(&mut two).1, carrying(&message(3)));
    // Pipelined ones, of this session and of one that is here, get their answers in order.
    let here = Session::start(&mut fleet.members[1], "");
    two.send(&session.request(103, &message(4)));
    two.send(&here.request(101, &message(5)));
    assert_eq!(fleet.ejabberd().document(stream), message(4));
    let ejabberd = &mut fleet.members[1].ejabberd;
    assert_eq!(ejabberd.document(here.stream), message(5));
    ejabberd.send(here.stream, &[&message(6)]);
    fleet.ejabberd().send(stream, &[&message(7)]);
    assert_eq!(answer(&mut two).1, carrying(&message(7)));
    assert_eq!(answer(&mut two).1, carrying(&message(6)));
}

#[test]
fn a_client_that_leaves_gets_what_it_missed_by_another_ecm() {
    let mut fleet = Fleet::start("");
    let session = fleet.session();
    let mut two = fleet.client(1);
    let stream = session.stream;
    two.send(&session.request(101, &message(1)));
    assert_eq!(fleet.ejabberd().document(stream), message(1));
    drop(two);
    let clients = "megaphone_ecm_clients{listener=\"http\"}";
    wait_for(&mut fleet.members[1].ecm, clients, 0.0);
    fleet.ejabberd().send(stream, &[&message(2)]);
    let mut three = fleet.client(2);
    three.send(&session.request(101, &message(1)));
    assert_eq!(answer(&mut three).1, carrying(&message(2)));
    // Neither was the request taken twice, nor is the answer given to the next one.
    three.send(&session.request(102, &message(3)));
    assert_eq!(fleet.ejabberd().document(stream), message(3));
    fleet.ejabberd().send(stream, &[&message(4)]);
    assert_eq!(answer(&mut three).1, carrying(&message(4)));
}

#[test]
fn a_connection_between_ecms_that_is_cut_loses_and_doubles_nothing() {
    let key = key_file(&[FIRST]);
    let mut one = Member::start("one", &key, "");
    let mut two = Member::start("two", &key, "");
    let cable = Cable::to(one.address);
    two.meet(&[("one", cable.address)]);
    wait_for(&mut two.ecm, "megaphone_ecm_fleet_peers_up", 1.0);
    let session = Session::start(&mut one, "");
    for round in 0..5 {
        let rid = 101 + u64::from(round);
        let mut client = two.ecm.client();
        client.send(&session.request(rid, &message(round)));
        assert_eq!(one.ejabberd.document(session.stream), message(round));
        cable.cut();
        let (head, body) = answer(&mut client);
        assert_eq!((status(&head), &*body), (502, TRY_AGAIN));
        assert!(head.contains("\r\nConnection: close\r\n"));
        assert_eq!(client.rest(), "");
        one.ejabberd.send(session.stream, &[&message(100 + round)]);
        wait_for(&mut two.ecm, "megaphone_ecm_fleet_peers_up", 1.0);
        let mut client = two.ecm.client();
        client.send(&session.request(rid, &message(round)));
        assert_eq!(answer(&mut client).1, carrying(&message(100 + round)));
    }
    let lost = "fleet_failures_total{cause=\"lost\"}";
    assert_eq!(two.value(lost), 5.0);
}

#[test]
fn sessions_of_an_ecm_that_is_gone_are_not_found_at_once() {
    let mut fleet = Fleet::start("");
    let session = fleet.session();
    let mut two = fleet.client(1);
    two.send(&session.request(101, &message(1)));
    assert_eq!(fleet.ejabberd().document(session.stream), message(1));
    fleet.members[0].ecm.signal("KILL");
    fleet.members[0].ecm.wait_for_exit();
    assert_eq!(answer(&mut two).1, TRY_AGAIN);
    // That it is gone is known after one attempt to connect.
    fleet.members[1]
        .ecm
        .wait_for_log("can't connect to ECM one at ");
    let mut two = fleet.client(1);
    for _ in 0..100 {
        two.send(&session.request(101, &message(1)));
        let (head, body) = answer(&mut two);
        assert_eq!((status(&head), &*body), (200, NOT_FOUND));
    }
    let gone = "fleet_failures_total{cause=\"gone\"}";
    assert_eq!(fleet.members[1].value(gone), 100.0);
    // Sessions of the others go on.
    let at_three = Session::start(&mut fleet.members[2], "");
    two.send(&at_three.request(101, &message(2)));
    assert_eq!(
        fleet.members[2].ejabberd.document(at_three.stream),
        message(2)
    );
    // One that comes back is asked again, and knows nothing of the session.
    let mut one = Member::start("one", &fleet.key, "");
    let three = fleet.members[2].address;
    fleet.members[1].meet(&[("one", one.address), ("three", three)]);
    wait_for(
        &mut fleet.members[1].ecm,
        "megaphone_ecm_fleet_peers_up",
        2.0,
    );
    let mut two = fleet.client(1);
    two.send(&session.request(101, &message(1)));
    assert_eq!(answer(&mut two).1, NOT_FOUND);
    assert_eq!(one.value("fleet_received_total"), 1.0);
}

#[test]
fn identifiers_that_no_ecm_has_given_are_not_found() {
    let mut fleet = Fleet::start("");
    let session = fleet.session();
    let (random, rest) = session.sid.split_once('-').unwrap();
    let (name, mac) = rest.split_once('-').unwrap();
    let strange = Member::start("strange", &fleet.key, "");
    let mut strange = strange;
    let unknown = Session::start(&mut strange, "").sid;
    let mut two = fleet.client(1);
    for sid in [
        format!("{random}-two-{mac}"),
        format!("{random}-{name}-{}", "A".repeat(mac.len())),
        format!("{}-{name}-{mac}", "0".repeat(32)),
        format!("{random}-{name}"),
        random.to_owned(),
        "-".to_owned(),
        "0-0-0-0".to_owned(),
        format!("{random}-{name}-{mac}x"),
        unknown,
    ] {
        let forged = Session { sid, stream: 0 };
        two.send(&forged.request(101, &message(1)));
        assert_eq!(answer(&mut two).1, NOT_FOUND, "{}", forged.sid);
    }
    assert_eq!(fleet.members[1].value("fleet_handed_on_total"), 0.0);
    let failures = |reason: &str| format!("fleet_failures_total{{cause=\"{reason}\"}}");
    assert_eq!(fleet.members[1].value(&failures("forged")), 8.0);
    assert_eq!(fleet.members[1].value(&failures("unknown")), 1.0);
    two.send(&session.request(101, &message(2)));
    assert_eq!(fleet.ejabberd().document(session.stream), message(2));
}

#[test]
fn the_key_is_replaced_while_sessions_go_on() {
    let mut fleet = Fleet::start("");
    let old = fleet.session();
    fleet.rotate(&[SECOND, FIRST]);
    let new = fleet.session();
    let mut two = fleet.client(1);
    for session in [&old, &new] {
        two.send(&session.request(101, &message(1)));
        assert_eq!(fleet.ejabberd().document(session.stream), message(1));
        fleet.ejabberd().send(session.stream, &[&message(2)]);
        assert_eq!(answer(&mut two).1, carrying(&message(2)));
    }
    fleet.rotate(&[SECOND, "", "# the first is gone"]);
    two.send(&old.request(102, ""));
    assert_eq!(answer(&mut two).1, NOT_FOUND);
    two.send(&new.request(102, &message(3)));
    assert_eq!(fleet.ejabberd().document(new.stream), message(3));
}

#[test]
fn a_session_with_tls_is_not_given_to_who_has_none_whichever_ecm_is_asked() {
    let mut fleet = Fleet::start("");
    let https = "X-Forwarded-Proto: https\r\nX-Forwarded-For: 192.0.2.7\r\n";
    for member in &mut fleet.members {
        let config = std::fs::read_to_string(&member.ecm.config).unwrap();
        let config = format!("trusted_proxies = [\"127.0.0.1\"]\n{config}");
        std::fs::write(&member.ecm.config, config).unwrap();
        member.ecm.signal("HUP");
        member.ecm.wait_for_log("configuration reloaded");
    }
    let session = Session::start(&mut fleet.members[0], https);
    let mut plain = fleet.client(1);
    plain.send(&session.request(101, &message(1)));
    assert_eq!(plain.rest(), "");
    let mut two = fleet.client(1);
    two.send(&session.request_with(101, &message(2), https));
    assert_eq!(fleet.ejabberd().document(session.stream), message(2));
    fleet.ejabberd().send(session.stream, &[&message(3)]);
    assert_eq!(answer(&mut two).1, carrying(&message(3)));
}

#[test]
fn the_pages_that_may_connect_are_those_of_the_ecm_that_has_the_session() {
    let mut fleet = Fleet::start("[bosh]\norigins = [\"https://good.example\"]\n");
    let session = fleet.session();
    let mut two = fleet.client(1);
    let good = "Origin: https://good.example\r\n";
    two.send(&session.request_with(101, &message(1), good));
    assert_eq!(fleet.ejabberd().document(session.stream), message(1));
    fleet.ejabberd().send(session.stream, &[&message(2)]);
    let (head, _) = answer(&mut two);
    assert!(
        head.contains("\r\nAccess-Control-Allow-Origin: https://good.example\r\nVary: Origin\r\n")
    );
    two.send(&session.request_with(102, "", "Origin: https://bad.example\r\n"));
    assert_eq!(status(&answer(&mut two).0), 403);
}

/// Many windows of it, while nobody reads.
#[test]
fn a_large_answer_comes_whole_and_holds_up_nobody() {
    let mut fleet = Fleet::start("");
    let (large, small) = (fleet.session(), fleet.session());
    let text = "x".repeat(4 << 20);
    let document = format!("<message xmlns='jabber:client'><body>{text}</body></message>");
    let mut two = fleet.client(1);
    two.send(&large.request(101, ""));
    fleet.ejabberd().send(large.stream, &[&document]);
    let stream = StreamId::new(large.stream);
    while fleet.ejabberd().trunk.session.queued(stream) > 0 {
        fleet.ejabberd().trunk.read(Duration::from_millis(10));
    }
    // Others are served over the same connection.
    let mut other = fleet.client(1);
    for rid in 101..150 {
        other.send(&small.request(rid, &message(1)));
        assert_eq!(fleet.ejabberd().document(small.stream), message(1));
        fleet.ejabberd().send(small.stream, &[&message(2)]);
        assert_eq!(answer(&mut other).1, carrying(&message(2)));
    }
    assert!(answer(&mut two).1 == carrying(&document));
    two.send(&large.request(102, &message(3)));
    assert_eq!(fleet.ejabberd().document(large.stream), message(3));
}

#[test]
fn a_body_that_is_too_large_for_who_has_not_logged_in_is_refused_by_the_owner() {
    let mut fleet = Fleet::start("");
    let session = fleet.session();
    let mut two = fleet.client(1);
    two.send(&session.request(101, &format!("<iq id='{}'/>", "x".repeat(200_000))));
    assert_eq!(status(&answer(&mut two).0), 413);
    let mut two = fleet.client(1);
    two.send(&session.request(101, &message(1)));
    assert_eq!(fleet.ejabberd().document(session.stream), message(1));
}

#[test]
fn an_ecm_that_ends_says_so_to_clients_of_others() {
    let mut fleet = Fleet::start("");
    let session = fleet.session();
    let mut two = fleet.client(1);
    two.send(&session.request(101, &message(1)));
    assert_eq!(fleet.ejabberd().document(session.stream), message(1));
    fleet.members[0].ecm.signal("TERM");
    let (_, body) = answer(&mut two);
    assert!(body.contains("condition='system-shutdown'"), "{body}");
}

#[test]
fn a_client_of_an_ecm_that_ends_goes_on_at_another_one() {
    let mut fleet = Fleet::start("");
    let session = fleet.session();
    let mut two = fleet.client(1);
    two.send(&session.request(101, &message(1)));
    assert_eq!(fleet.ejabberd().document(session.stream), message(1));
    fleet.members[1].ecm.signal("TERM");
    let (head, body) = answer(&mut two);
    assert_eq!((status(&head), &*body), (502, TRY_AGAIN));
    assert!(fleet.members[1].ecm.wait_for_exit().success());
    let mut three = fleet.client(2);
    three.send(&session.request(101, &message(1)));
    fleet.ejabberd().send(session.stream, &[&message(2)]);
    assert_eq!(answer(&mut three).1, carrying(&message(2)));
}

#[test]
fn ecms_show_each_other_their_certificates() {
    let ca = Authority::new();
    let stranger = Authority::new();
    let key = key_file(&[FIRST]);
    let tls = |pair: &common::authority::Pair| {
        format!(
            "[fleet.tls]\nca = \"{}\"\ncert = \"{}\"\nkey = \"{}\"\nserver_name = \"ecm.example\"\n",
            ca.ca().display(),
            pair.cert.display(),
            pair.key.display()
        )
    };
    let good = tls(&ca.sign("ecm.example"));
    let bad = tls(&stranger.sign("ecm.example"));
    let mut one = Member::start("one", &key, &good);
    one.ecm.find_in_log("(fleet, TLS)");
    let mut two = Member::start("two", &key, &good);
    two.meet(&[("one", one.address)]);
    wait_for(&mut two.ecm, "megaphone_ecm_fleet_peers_up", 1.0);
    let session = Session::start(&mut one, "");
    let mut client = two.ecm.client();
    client.send(&session.request(101, &message(1)));
    assert_eq!(one.ejabberd.document(session.stream), message(1));
    one.ejabberd.send(session.stream, &[&message(2)]);
    assert_eq!(answer(&mut client).1, carrying(&message(2)));
    // One whose certificate another CA has signed, and one that has none.
    let mut three = Member::start("three", &key, &bad);
    three.meet(&[("one", one.address)]);
    three.ecm.wait_for_log("can't connect to ECM one at ");
    one.ecm.wait_for_log("no TLS with another ECM: ");
    let mut plain = Member::start("plain", &key, "");
    plain.meet(&[("one", one.address)]);
    plain.ecm.wait_for_log("can't connect to ECM one at ");
    let mut client = plain.ecm.client();
    client.send(&session.request(102, ""));
    assert_eq!(answer(&mut client).1, NOT_FOUND);
}

/// What is no other ECM costs nothing but its connection.
#[test]
fn a_connection_that_makes_no_sense_ends_alone() {
    let mut fleet = Fleet::start("");
    let session = fleet.session();
    let address = fleet.members[0].address;
    for bytes in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        &[0; 12],
        // A stream that begins with no PROXY header.
        &[
            0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 16, b'G', b'E', b'T', b' ', b'/', b' ', b'H', b'T',
            b'T', b'P', b'/', b'1', b'.', b'1', b'\r', b'\n',
        ],
    ] {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let until = Instant::now() + PATIENCE;
        let mut buffer = [0; 1024];
        while matches!(stream.read(&mut buffer), Ok(1..)) {
            assert!(Instant::now() < until);
        }
    }
    let mut two = fleet.client(1);
    two.send(&session.request(101, &message(1)));
    assert_eq!(fleet.ejabberd().document(session.stream), message(1));
}

#[test]
fn what_can_not_be_a_fleet_is_refused() {
    let key = key_file(&[FIRST]);
    let broken = key_file(&["short"]);
    let fleet = |more: &str| {
        format!(
            "[fleet]\nname = \"one\"\nkey = \"{}\"\n{more}",
            key.display()
        )
    };
    let with_broken = fleet("address = \"127.0.0.1:0\"\npeers = {}\n")
        .replace(&*key.to_string_lossy(), &broken.to_string_lossy());
    for (config, expected) in [
        (
            fleet("address = \"0.0.0.0:5270\"\npeers = {}\n"),
            "fleet.address is 0.0.0.0:5270, which is not a loopback address and so needs TLS",
        ),
        (
            fleet("address = \"127.0.0.1:0\"\npeers = { two = \"192.0.2.1:5270\" }\n"),
            "fleet.peers.two is 192.0.2.1:5270, which is not a loopback address and so needs TLS",
        ),
        (
            fleet("address = \"127.0.0.1:0\"\npeers = { \"t-o\" = \"127.0.0.1:1\" }\n"),
            "\"t-o\" is not a name for an ECM",
        ),
        (
            fleet("address = \"127.0.0.1:0\"\npeers = { two = \"unix:/a\" }\n"),
            "ECMs listen only on TCP",
        ),
        (
            fleet("address = \"127.0.0.1:0\"\npeers = {}\n[fleet.tls]\nca = \"/a\"\n"),
            "fleet.tls needs cert and key",
        ),
        (with_broken, "fleet.key: line 1 of "),
    ] {
        refuses_config(&config, expected);
    }
    for path in [key, broken] {
        std::fs::remove_file(path).unwrap();
    }
}

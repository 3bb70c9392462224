//! Clients that use up all file descriptors: others hear of it, and nobody else does.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::io::Read as _;
use std::time::Instant;

use common::authority::Authority;
use common::metrics::{METRICS, ask, wait_for};
use common::v2::{Peer2, Trunk2};
use common::{Client, Ecm, PATIENCE, get, ok, status};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

/// No less than the program and its places for clients need.
const OPEN_FILES: u32 = 128;

const HTTP_CLIENTS: &str = "megaphone_ecm_clients{listener=\"http\"}";

struct Program {
    ecm: Ecm,
    peer: Peer2,
    trunk: Trunk2,
    _authority: Authority,
}

fn start() -> Program {
    common::allow_open_files();
    let peer = Peer2::start();
    let authority = Authority::new();
    let config = format!(
        "threads = 1\n[trunk]\naddress = \"{}\"\ntrunks = 1\nbackoff_max = \"100ms\"\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\nkind = \"https\"\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\nkind = \"xmpp\"\n{}{METRICS}",
        peer.address,
        authority.sign("a.example").table()
    );
    let mut ecm = Ecm::start_with_open_files(OPEN_FILES, &config);
    let trunk = peer.accept();
    ecm.wait_for_log("is up");
    Program {
        ecm,
        peer,
        trunk,
        _authority: authority,
    }
}

impl Program {
    /// Clients that ask nothing, until there is no place for another one.
    fn fill(&mut self) -> Vec<Client> {
        let line = self.ecm.find_in_log("leaves room for");
        let rest = line.split("leaves room for ").nth(1).unwrap();
        let places: usize = rest.split(' ').next().unwrap().parse().unwrap();
        let clients: Vec<_> = (0..places).map(|_| self.ecm.client()).collect();
        let name = "megaphone_ecm_clients{listener=\"http\"}";
        wait_for(
            &mut self.ecm,
            name,
            f64::from(u32::try_from(places).unwrap()),
        );
        clients
    }

    /// Confirms that those who watch are answered.
    #[track_caller]
    fn is_watched(&mut self) {
        let answer = ask(&mut self.ecm, &get("/health"));
        assert_eq!(status(&answer), 200, "{answer}");
    }

    /// Confirms that each kind of client hears that there is no place for it.
    #[track_caller]
    fn has_no_place(&mut self) {
        let mut http = self.ecm.client();
        http.send(&get("/"));
        let answer = http.rest();
        assert_eq!(status(&answer), 503, "{answer}");
        assert!(answer.contains("Retry-After: "), "{answer}");
        let mut xmpp = Client::connect(self.ecm.listener("xmpp"));
        let error = xmpp.rest();
        assert!(error.contains("<resource-constraint "), "{error}");
        // A fatal internal_error.
        let mut https = Client::connect(self.ecm.listener("https"));
        let mut alert = Vec::new();
        https.stream.read_to_end(&mut alert).unwrap();
        assert_eq!(alert, [21, 3, 3, 0, 2, 2, 80]);
    }
}

#[test]
fn all_descriptors_in_use_are_those_of_clients() {
    let mut program = start();
    let mut clients = program.fill();
    program.has_no_place();
    program.is_watched();
    // A trunk that is lost is dialled.
    program.trunk = {
        program.trunk.transport.close();
        program.peer.accept()
    };
    program.ecm.wait_for_log("is up");
    // The file and those that it names are read.
    program.ecm.signal("HUP");
    program.ecm.wait_for_log("configuration reloaded");
    // Those who have a place are served, and who leaves makes one free.
    clients[0].send(&get("/"));
    let (id, ..) = program.trunk.opened();
    program.trunk.answer(id, "hello");
    clients[0].expect(&ok("hello"));
    clients.truncate(1);
    wait_for(&mut program.ecm, HTTP_CLIENTS, 1.0);
    let mut next = program.ecm.client();
    next.send(&get("/"));
    let (id, ..) = program.trunk.opened();
    program.trunk.answer(id, "hello");
    next.expect(&ok("hello"));
}

#[test]
fn of_a_crowd_without_a_place_each_hears_of_it() {
    let mut program = start();
    let _clients = program.fill();
    let mut crowd: Vec<_> = (0..500).map(|_| program.ecm.client()).collect();
    for client in &mut crowd {
        let answer = client.rest();
        assert_eq!(status(&answer), 503, "{answer}");
    }
    program.is_watched();
}

/// As another limit, or the system's, may leave none at all.
#[test]
fn without_any_descriptor_left_clients_are_refused_and_who_watches_is_answered() {
    let mut program = start();
    let _clients = program.fill();
    let id = program.ecm.id();
    let open: Vec<u64> = fs::read_dir(format!("/proc/{id}/fd"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| name.parse().unwrap())
        .collect();
    let first_free = (0..).find(|number| !open.contains(number));
    let limit = Rlimit {
        current: first_free,
        maximum: first_free,
    };
    let pid = Pid::from_raw(i32::try_from(id).unwrap());
    prlimit(pid, Resource::Nofile, limit).unwrap();
    // Those who were told stay for a while, and so use up what was free.
    let mut crowd = Vec::new();
    let until = Instant::now() + PATIENCE;
    while program.ecm.logged("can't accept connections") == 0 {
        let mut client = program.ecm.client();
        client.until("Retry-After: ");
        crowd.push(client);
        assert!(Instant::now() < until, "{} were accepted", crowd.len());
    }
    for _ in 0..3 {
        program.has_no_place();
        program.is_watched();
    }
}

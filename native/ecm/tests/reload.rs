//! SIGHUP with files that are empty, cut short, or not for the program that runs: it goes on with all that it had.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod common;

use std::net::SocketAddr;
use std::sync::Arc;

use common::authority::{Authority, TlsClient};
use common::v2::{Peer2, Seen, Trunk2};
use common::{Client, Ecm, get, ok, status};
use tokio_rustls::rustls::version::TLS13;

const HEADER: &str = "<stream:stream xmlns='jabber:client' \
     xmlns:stream='http://etherx.jabber.org/streams' to='a.example' version='1.0'>";
const STARTTLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
const PROCEED: &str = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";

/// A program with a listener of each kind that needs a certificate, and one that needs none.
struct Program {
    ecm: Ecm,
    peer: Peer2,
    trunk: Trunk2,
    authority: Authority,
    file: String,
    https: SocketAddr,
    xmpp: SocketAddr,
}

impl Program {
    fn start() -> Self {
        let peer = Peer2::start();
        let authority = Authority::new();
        let file = format!(
            "threads = 1\n[limits]\nmax_headers = 7\n[trunk]\naddress = \"{}\"\ntrunks = 1\n\
             [[listener]]\naddress = \"127.0.0.1:0\"\nkind = \"http\"\n\
             [[listener]]\naddress = \"127.0.0.1:0\"\nkind = \"https\"\n\
             [[listener]]\naddress = \"127.0.0.1:0\"\nkind = \"xmpp\"\n{}",
            peer.address,
            authority.sign("a.example").table()
        );
        let mut ecm = Ecm::start_with_config(&file);
        let trunk = peer.accept();
        ecm.wait_for_log("is up");
        let (https, xmpp) = (ecm.listener("https"), ecm.listener("xmpp"));
        Self {
            ecm,
            peer,
            trunk,
            authority,
            file,
            https,
            xmpp,
        }
    }

    /// Reads this file; what the log says of it.
    #[track_caller]
    fn reload(&mut self, file: &str) -> String {
        std::fs::write(&self.ecm.config, file).unwrap();
        self.ecm.signal("HUP");
        self.ecm.wait_for_log("configuration ")
    }

    /// Confirms that nothing of a file was used.
    #[track_caller]
    fn refuses(&mut self, file: &str, reason: &str) {
        let line = self.reload(file);
        let expected = "the configuration is not reloaded: ";
        assert!(line.contains(expected) && line.contains(reason), "{line}");
        self.has_tls();
        self.allows_headers(7);
    }

    /// Confirms that clients with TLS are served.
    #[track_caller]
    fn has_tls(&self) {
        let config = Arc::new(self.authority.client(&TLS13, &[]));
        TlsClient::connect(self.https, &config, "a.example").unwrap();
        let mut client = Client::connect(self.xmpp);
        client.send(HEADER);
        client.until("</stream:features>");
        client.send(STARTTLS);
        client.expect(PROCEED);
        TlsClient::over(client.stream, &config, "a.example").unwrap();
    }

    /// Confirms that the program has this limit.
    #[track_caller]
    fn allows_headers(&mut self, most: usize) {
        let request = |headers| {
            let more = "A: b\r\n".repeat(headers - 1);
            get("/").replace("\r\n\r\n", &format!("\r\n{more}\r\n"))
        };
        let mut client = self.ecm.client();
        client.send(&request(most));
        let (id, ..) = self.trunk.opened();
        self.trunk.answer(id, "hello");
        client.expect(&ok("hello"));
        client.send(&request(most + 1));
        assert_eq!(status(&client.rest()), 431);
        assert_eq!(self.trunk.next(), Seen::Finished(id));
    }
}

#[test]
fn a_file_that_takes_something_from_a_listener_that_runs_changes_nothing() {
    let mut program = Program::start();
    let file = program.file.clone();
    let (other_limits, certificate) = (
        file.replace("max_headers = 7", "max_headers = 9"),
        file.find("[[certificate]]").unwrap(),
    );
    let without_certificate = other_limits.split_at(certificate).0;
    let listeners = other_limits.find("[[listener]]").unwrap();
    let without_listeners = [&other_limits[..listeners], &other_limits[certificate..]].concat();
    let http_alone = &other_limits[..other_limits
        .find("[[listener]]\naddress = \"127.0.0.1:0\"\nkind = \"https\"")
        .unwrap()];
    let no_listener = "there is no [[listener]] in it, and some are running";
    for (file, reason) in [
        ("", no_listener),
        ("\n\n", no_listener),
        ("# To be written\n", no_listener),
        ("[limits]\nmax_headers = 9\n", no_listener),
        (&without_listeners, no_listener),
        (
            http_alone,
            "127.0.0.1:0 (https) is running; TLS needs a certificate",
        ),
        (without_certificate, "TLS needs a certificate"),
        (
            &other_limits.replace("cert = ", "cert = \"/\" # "),
            "certificate.cert: can't read /",
        ),
        (
            &other_limits.replace("threads = 1", "log.level = \"loud\""),
            "\"loud\" is not a level",
        ),
    ] {
        program.refuses(file, reason);
    }
    // A key of another certificate.
    let other = program.authority.sign("b.example");
    let mixed = other_limits.replace("a.example-2999.key", "b.example-2999.key");
    assert!(other.key.exists() && mixed != other_limits);
    program.refuses(&mixed, "can't be used together");
    // The right one is used.
    let line = program.reload(&other_limits);
    assert!(line.contains("configuration reloaded from"), "{line}");
    program.has_tls();
    program.allows_headers(9);
}

/// As an editor leaves it that is not done when the signal comes.
#[test]
fn a_file_that_is_cut_anywhere_takes_no_certificate_away() {
    let mut program = Program::start();
    let file = program.file.clone();
    for length in (0..file.len()).step_by(5) {
        program.reload(&file[..length]);
        program.has_tls();
    }
}

#[test]
fn a_reload_names_what_needs_a_restart_and_goes_on_with_the_rest() {
    let mut program = Program::start();
    let changed = program
        .file
        .replace("threads = 1", "threads = 2")
        .replace(
            "trunks = 1",
            "trunks = 2\nbackoff_max = \"9s\"\nprotocol = \"v2\"",
        )
        .replace("kind = \"http\"", "kind = \"http\"\nproxy_protocol = true")
        .replace("max_headers = 7", "max_headers = 8")
        + "[metrics]\naddress = \"127.0.0.1:0\"\n";
    let line = program.reload(&changed);
    assert!(line.contains("configuration reloaded from"), "{line}");
    let line = program.ecm.wait_for_log("in effect only after a restart");
    let keys = "threads, listener, metrics.address, trunk.trunks, trunk.backoff_max";
    assert!(line.ends_with(keys), "{line}");
    program.allows_headers(8);
    program.has_tls();
    // What is compared is what runs.
    let line = program.reload(&program.file.clone());
    assert!(line.contains("configuration reloaded from"), "{line}");
    assert_eq!(program.ecm.logged("in effect only after a restart"), 1);
    drop(program.peer);
}

#[test]
fn a_reload_neither_gives_the_trunks_tls_nor_takes_it() {
    let mut program = Program::start();
    let ca = program.authority.ca();
    let tls = format!("[trunk.tls]\nca = \"{}\"\n", ca.display());
    let line = program.reload(&(program.file.clone() + &tls));
    assert!(line.contains("configuration reloaded from"), "{line}");
    let line = program.ecm.wait_for_log("in effect only after a restart");
    assert!(line.ends_with(": trunk.tls"), "{line}");
    // The next trunk is as the one before.
    program.trunk.go_away();
    program.trunk = program.peer.accept();
    program.ecm.wait_for_log("is up");
    program.allows_headers(7);
}

#[test]
fn the_log_warns_of_a_certificate_at_the_start_and_at_each_reload() {
    let warning = "certificate.cert: the certificate in ";
    let mut program = Program::start();
    assert_eq!(program.ecm.logged(warning), 0);
    let certificate = program.file.find("[[certificate]]").unwrap();
    let expired = program.authority.sign_until("a.example", 2001);
    let file = [&program.file[..certificate], &expired.table()].concat();
    for count in 1..3 {
        assert!(program.reload(&file).contains("configuration reloaded"));
        assert_eq!(program.ecm.logged(warning), count);
    }
    let file_before = program.file.clone();
    assert!(
        program
            .reload(&file_before)
            .contains("configuration reloaded")
    );
    assert_eq!(program.ecm.logged(warning), 2);
    let mut ecm = Ecm::start_with_config(&file);
    let line = ecm.find_in_log(warning);
    assert!(line.contains("WARN"), "{line}");
    let end = " expired on 2001-01-01 00:00:00 UTC: whoever verifies it refuses it";
    assert!(line.contains(end), "{line}");
}

//! The program as systemd starts it: what it tells systemd of itself, and what its log looks like.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod common;

use std::fs::File;
use std::os::linux::fs::MetadataExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::v2::Peer2;
use common::{Ecm, PATIENCE, command, write_config};

/// What the program tells.
struct Systemd {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Systemd {
    fn start() -> Self {
        let path = write_config("");
        std::fs::remove_file(&path).unwrap();
        let socket = UnixDatagram::bind(&path).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { socket, path }
    }

    fn command(&self) -> Command {
        let mut command = command();
        command.env("NOTIFY_SOCKET", &self.path);
        command
    }

    /// The next message, but for pings of the watchdog.
    fn next(&self) -> String {
        loop {
            let mut buffer = [0; 1024];
            let length = self.socket.recv(&mut buffer).unwrap();
            let text = std::str::from_utf8(&buffer[..length]).unwrap();
            let text = text.strip_prefix("WATCHDOG=1\n").unwrap_or(text);
            if !text.is_empty() {
                return text.to_owned();
            }
        }
    }

    /// The next one with this text.
    fn wait_for(&self, text: &str) -> String {
        loop {
            let message = self.next();
            if message.contains(text) {
                return message;
            }
        }
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

fn config(peer: &Peer2) -> String {
    format!(
        "threads = 1\n[trunk]\naddress = \"{}\"\ntrunks = 1\n[[listener]]\naddress = \"127.0.0.1:0\"\n",
        peer.address
    )
}

#[test]
fn systemd_hears_that_it_is_ready_how_it_is_that_it_reloads_and_that_it_ends() {
    let (systemd, peer) = (Systemd::start(), Peer2::start());
    let mut ecm = Ecm::start_command(systemd.command(), &config(&peer));
    let _trunk = peer.accept();
    assert_eq!(systemd.next(), "READY=1\n");
    let status = systemd.wait_for("STATUS=");
    assert!(
        status.starts_with("STATUS=0 clients, 0 sessions, "),
        "{status}"
    );
    ecm.wait_for_log("is up");
    ecm.signal("HUP");
    let reloading = systemd.wait_for("RELOADING=1");
    let since = reloading.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
    assert!(
        since.is_some_and(|it| it.trim_end().parse::<u64>().is_ok()),
        "{reloading}"
    );
    assert_eq!(systemd.wait_for("READY=1"), "READY=1\n");
    ecm.signal("TERM");
    let stopping = systemd.wait_for("STOPPING=1");
    assert_eq!(stopping, "STOPPING=1\nEXTEND_TIMEOUT_USEC=14000000\n");
    assert!(ecm.wait_for_exit().success());
}

#[test]
fn the_status_counts_clients_and_trunks() {
    let (systemd, peer) = (Systemd::start(), Peer2::start());
    let mut ecm = Ecm::start_command(systemd.command(), &config(&peer));
    let _trunk = peer.accept();
    ecm.wait_for_log("is up");
    let _client = ecm.client();
    systemd.wait_for("STATUS=1 clients, 0 sessions, 1 trunks up");
}

#[test]
fn the_watchdog_hears_from_it_twice_in_its_time() {
    let (systemd, peer) = (Systemd::start(), Peer2::start());
    let mut command = systemd.command();
    command.env("WATCHDOG_USEC", "200000");
    let _ecm = Ecm::start_command(command, &config(&peer));
    let mut pings = 0;
    while pings < 5 {
        let mut buffer = [0; 1024];
        let length = systemd.socket.recv(&mut buffer).unwrap();
        pings += usize::from(buffer[..length].starts_with(b"WATCHDOG=1\n"));
    }
}

/// The other process of systemd's is watched, not this one.
#[test]
fn the_watchdog_of_another_process_hears_nothing() {
    let (systemd, peer) = (Systemd::start(), Peer2::start());
    let mut command = systemd.command();
    command
        .env("WATCHDOG_USEC", "1000")
        .env("WATCHDOG_PID", "1");
    let ecm = Ecm::start_command(command, &config(&peer));
    let mut buffer = [0; 1024];
    systemd.wait_for("READY=1");
    ecm.signal("TERM");
    loop {
        let length = systemd.socket.recv(&mut buffer).unwrap();
        let text = std::str::from_utf8(&buffer[..length]).unwrap();
        assert!(!text.contains("WATCHDOG=1"), "{text}");
        if text.contains("STOPPING=1") {
            return;
        }
    }
}

#[test]
fn one_that_takes_the_place_of_another_is_the_main_process_once_it_has_a_trunk() {
    let (systemd, peer) = (Systemd::start(), Peer2::start());
    let mut old = Ecm::start_command(systemd.command(), &config(&peer));
    let _old_trunk = peer.accept();
    old.wait_for_log("is up");
    let taken = config(&peer).replace("127.0.0.1:0", &old.address.to_string());
    let taken = format!("{taken}[limits]\nclose_spread = \"0s\"\n");
    let mut command = systemd.command();
    command.args(["--replaces", &old.id().to_string()]);
    let new = Ecm::start_command(command, &taken);
    let _new_trunk = peer.accept();
    let message = systemd.wait_for("MAINPID=");
    assert_eq!(message, format!("MAINPID={}\nREADY=1\n", new.id()));
    old.wait_for_log("leaving: ");
    old.signal("TERM");
    assert!(old.wait_for_exit().success());
    new.signal("TERM");
    // The old one did not say that the unit stops.
    let stopping = systemd.wait_for("STOPPING=1");
    assert!(stopping.starts_with("STOPPING=1\n"), "{stopping}");
    systemd
        .socket
        .set_read_timeout(Some(Duration::from_millis(1)))
        .unwrap();
    let mut buffer = [0; 1024];
    while let Ok(length) = systemd.socket.recv(&mut buffer) {
        assert!(!buffer[..length].starts_with(b"STOPPING=1"));
    }
}

#[test]
fn a_log_as_json_has_an_object_per_line() {
    let peer = Peer2::start();
    let config = config(&peer) + "[log]\nformat = \"json\"\n";
    let mut ecm = Ecm::start_with_config(&config);
    let _trunk = peer.accept();
    let line = ecm.wait_for_log("is up");
    let object: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(object["level"], "INFO");
    assert_eq!(
        object["message"],
        format!("trunk to {} is up", peer.address)
    );
    let time = object["timestamp"].as_str().unwrap();
    assert!(time.len() > 20 && time.ends_with('Z'), "{line}");
    for line in ecm.lines() {
        serde_json::from_str::<serde_json::Value>(&line).unwrap();
    }
}

/// The journal, here a file, has a time for each line; any other file has not.
#[test]
fn in_the_journal_lines_have_no_time_of_their_own() {
    for is_journal in [true, false] {
        let log = write_config("");
        let file = File::create(&log).unwrap();
        let metadata = file.metadata().unwrap();
        let inode = metadata.st_ino() + u64::from(!is_journal);
        let config = write_config("[[listener]]\naddress = \"192.0.2.1:1\"\n");
        let mut command = command();
        command.env("JOURNAL_STREAM", format!("{}:{inode}", metadata.st_dev()));
        command
            .arg("--config")
            .arg(&config)
            .stderr(Stdio::from(file));
        assert_eq!(command.status().unwrap().code(), Some(1));
        let text = std::fs::read_to_string(&log).unwrap();
        let last = text.lines().last().unwrap();
        let level = last
            .trim_start()
            .starts_with("ERROR can't listen on 192.0.2.1:1");
        assert_eq!(level, is_journal, "{text}");
        std::fs::remove_file(log).unwrap();
        std::fs::remove_file(config).unwrap();
    }
}

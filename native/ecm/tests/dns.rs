//! Nodes by name, asked of a real name server: dnsmasq.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::fleet::{TestNode, log_in, wait_until};
use common::metrics::{METRICS, scrape};
use common::{Ecm, write_config};

/// A name server with these hosts, each of which holds for a second.
struct NameServer {
    process: Child,
    port: u16,
    hosts: PathBuf,
}

impl NameServer {
    fn start(hosts: &str, more: &[String]) -> Self {
        let file = write_config(hosts);
        let (process, port) = (0..10)
            .find_map(|_| Self::serving(&file, more))
            .unwrap_or_else(|| panic!("dnsmasq ends at once, whatever its port"));
        Self {
            process,
            port,
            hosts: file,
        }
    }

    /// One that answers. It ends if another socket has the port by now, UDP's or TCP's.
    fn serving(hosts: &Path, more: &[String]) -> Option<(Child, u16)> {
        let free = UdpSocket::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let mut process = Self::run(port, hosts, more);
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(("127.0.0.1", port)).unwrap();
        client
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        while process.try_wait().unwrap().is_none() {
            // Of the name "test", type A, class IN (RFC 1035, 4.1).
            let query = b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\x04test\0\0\x01\0\x01";
            if client.send(query).is_ok() && client.recv(&mut [0; 512]).is_ok() {
                return Some((process, port));
            }
        }
        None
    }

    fn run(port: u16, hosts: &Path, more: &[String]) -> Child {
        Command::new("dnsmasq")
            .args([
                "--keep-in-foreground",
                "--conf-file=/dev/null",
                "--no-resolv",
                "--no-hosts",
            ])
            .args([
                "--listen-address=127.0.0.1",
                "--bind-interfaces",
                "--pid-file=",
                "--local-ttl=1",
            ])
            .args(["--user=", "--log-facility=-", "--local=/test/"])
            .arg(format!("--port={port}"))
            .arg(format!("--addn-hosts={}", hosts.display()))
            .args(more)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("dnsmasq: {error}; test/demo/deps.sh test installs it"))
    }

    /// It has these hosts from now on.
    fn set(&self, hosts: &str) {
        std::fs::write(&self.hosts, hosts).unwrap();
        self.signal("HUP");
    }

    fn signal(&self, name: &str) {
        let kill = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.process.id().to_string())
            .status();
        assert!(kill.unwrap().success());
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_file(&self.hosts);
    }
}

/// The program with one `[[node]]`.
fn start(server: &NameServer, address: &str) -> Ecm {
    Ecm::start_with_config(&format!(
        "[log]\nlevel = \"debug\"\n[trunk]\ntrunks = 1\nbackoff_min = \"10ms\"\nbackoff_max = \"50ms\"\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\nkind = \"xmpp\"\nstarttls = \"off\"\n\
         [[node]]\naddress = \"{address}\"\n{METRICS}\
         [nodes]\nslow_start = \"0s\"\nname_servers = [\"127.0.0.1:{}\"]\n",
        server.port
    ))
}

/// The nodes that there are, by their metrics.
fn nodes(ecm: &mut Ecm) -> Vec<String> {
    let start = "megaphone_ecm_node_usable{node=\"";
    let names = scrape(ecm).into_keys().filter_map(|key| {
        let name = key.strip_prefix(start)?;
        Some(name.trim_end_matches("\"}").to_owned())
    });
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names
}

/// Two nodes at one port of two addresses.
fn two_nodes() -> (TestNode, TestNode, u16) {
    let a = TestNode::start();
    let port = a.address.port();
    let b = TestNode::start_at(format!("127.0.0.2:{port}").parse().unwrap());
    (a, b, port)
}

#[test]
fn each_address_of_a_name_is_a_node_as_long_as_the_name_has_it() {
    let (a, b, port) = two_nodes();
    let server = NameServer::start("127.0.0.1 ejabberd.test\n127.0.0.2 ejabberd.test\n", &[]);
    let mut ecm = start(&server, &format!("ejabberd.test:{port}"));
    let name = |ip: &str| format!("ejabberd.test/{ip}:{port}");
    ecm.wait_for_log("trunk to ejabberd.test/127.0.0");
    ecm.wait_for_log("trunk to ejabberd.test/127.0.0");
    assert_eq!(nodes(&mut ecm), [name("127.0.0.1"), name("127.0.0.2")]);
    let mut clients = log_in(&ecm, 6);
    assert_eq!((a.sessions(), b.sessions()), (3, 3));

    // One goes: what it has stays, and it gets nothing more.
    server.set("127.0.0.1 ejabberd.test\n");
    ecm.wait_for_log(&format!("no longer has the address 127.0.0.2:{port}"));
    clients.extend(log_in(&ecm, 4));
    assert_eq!((a.sessions(), b.sessions()), (7, 3));
    assert_eq!(b.trunks(), 1);

    // It comes back while it still has its sessions.
    server.set("127.0.0.1 ejabberd.test\n127.0.0.2 ejabberd.test\n");
    ecm.wait_for_log(&format!("now has the address 127.0.0.2:{port}"));
    clients.extend(log_in(&ecm, 4));
    assert_eq!((a.sessions(), b.sessions()), (7, 7));

    // And goes for good: when it is empty, its trunk ends.
    server.set("127.0.0.1 ejabberd.test\n");
    ecm.wait_for_log("no longer");
    drop(clients);
    ecm.wait_for_log(&format!("node {} has ended", name("127.0.0.2")));
    wait_until("the end of b's trunk", || b.trunks() == 0);
    assert_eq!(nodes(&mut ecm), [name("127.0.0.1")]);
}

#[test]
fn each_host_of_an_srv_name_is_a_node_with_its_port() {
    let (a, b) = (TestNode::start(), TestNode::start());
    let srv = |host: &str, node: &TestNode| {
        let port = node.address.port();
        format!("--srv-host=_megaphone._tcp.test,{host}.test,{port}")
    };
    let more = [srv("a", &a), srv("b", &b)];
    let server = NameServer::start("127.0.0.1 a.test\n127.0.0.1 b.test\n", &more);
    let mut ecm = start(&server, "srv:_megaphone._tcp.test");
    ecm.wait_for_log("trunk to _megaphone._tcp.test/127.0.0.1");
    ecm.wait_for_log("trunk to _megaphone._tcp.test/127.0.0.1");
    let _clients = log_in(&ecm, 6);
    assert_eq!((a.sessions(), b.sessions()), (3, 3));
}

#[test]
fn a_name_server_in_trouble_costs_no_node() {
    let (a, b, port) = two_nodes();
    let mut server = NameServer::start("127.0.0.1 ejabberd.test\n127.0.0.2 ejabberd.test\n", &[]);
    let mut ecm = start(&server, &format!("ejabberd.test:{port}"));
    ecm.wait_for_log("trunk to ejabberd.test/127.0.0");
    ecm.wait_for_log("trunk to ejabberd.test/127.0.0");
    // The name is gone.
    server.set("127.0.0.1 other.test\n");
    let line = ecm.wait_for_log("its nodes stay as they are");
    assert!(
        line.contains("WARN") && line.contains("ejabberd.test"),
        "{line}"
    );
    let mut clients = log_in(&ecm, 2);
    // Then the name server is.
    let _ = server.process.kill();
    let _ = server.process.wait();
    clients.extend(log_in(&ecm, 2));
    assert_eq!((a.sessions(), b.sessions()), (2, 2));
    // And it is asked again when it is back.
    std::fs::write(&server.hosts, "127.0.0.2 ejabberd.test\n").unwrap();
    server.process = NameServer::run(server.port, &server.hosts, &[]);
    ecm.wait_for_log(&format!("no longer has the address 127.0.0.1:{port}"));
    clients.extend(log_in(&ecm, 2));
    assert_eq!((a.sessions(), b.sessions()), (2, 4));
}

//! `megaphone-ecm ctl`, as an operator and a program use it.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use common::fleet::{TestNode, log_in, start, wait_until};
use common::{Ecm, command, refuses_config, write_config};

/// Where a program of this test listens.
fn socket() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let number = COUNT.fetch_add(1, Ordering::Relaxed);
    let name = format!("ctl-{}-{number}.sock", std::process::id());
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(name)
}

/// Two nodes, and the program that takes commands for them.
fn two() -> (TestNode, TestNode, Ecm, PathBuf) {
    two_with("")
}

fn two_with(nodes: &str) -> (TestNode, TestNode, Ecm, PathBuf) {
    let (a, b, path) = (TestNode::start(), TestNode::start(), socket());
    let more = format!(
        "[nodes]\nslow_start = \"0s\"\n{nodes}[control]\nsocket = \"{}\"\n",
        path.display()
    );
    let ecm = start(&[&a, &b], &[], &more);
    (a, b, ecm, path)
}

struct Said {
    code: i32,
    out: String,
    error: String,
}

fn ctl(arguments: &[&str]) -> Said {
    let output = command().arg("ctl").args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Said {
        code: output.status.code().unwrap(),
        out: text(&output.stdout),
        error: text(&output.stderr),
    }
}

/// What a command prints that works.
#[track_caller]
fn ok(socket: &Path, arguments: &[&str]) -> String {
    let said = ctl(&[&["--socket", socket.to_str().unwrap()], arguments].concat());
    assert_eq!((said.code, said.error.as_str()), (0, ""), "{}", said.out);
    said.out
}

/// What one says that does not.
#[track_caller]
fn wrong(socket: &Path, arguments: &[&str]) -> String {
    let said = ctl(&[&["--socket", socket.to_str().unwrap()], arguments].concat());
    assert_eq!((said.code, said.out.as_str()), (1, ""), "{}", said.error);
    said.error
}

#[test]
fn nodes_are_a_table_and_an_object() {
    let (_a, _b, ecm, socket) = two();
    let _clients = log_in(&ecm, 4);
    let table = ok(&socket, &["nodes"]);
    let lines: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    assert_eq!(
        lines[0][..5],
        ["NODE", "STATE", "CONDITION", "TRUNKS", "SESSIONS"]
    );
    assert_eq!(lines[0][5..7], ["LEAVING", "MAX"]);
    assert_eq!(lines[1][..7], ["a", "ready", "well", "2", "2", "0", "-"]);
    assert_eq!(lines[2][..7], ["b", "ready", "well", "2", "2", "0", "-"]);
    let json: serde_json::Value = serde_json::from_str(&ok(&socket, &["nodes", "--json"])).unwrap();
    assert_eq!(json["version"], 1);
    let of = |key: &str| json["nodes"][1][key].clone();
    assert_eq!((of("name"), of("sessions")), ("b".into(), 2.into()));
    assert_eq!(
        (of("max_sessions"), of("login_limit")),
        (().into(), 16.into())
    );
    let sessions = ok(&socket, &["sessions"]);
    assert!(sessions.contains("\ntcp        4\n"), "{sessions}");
}

#[test]
fn a_drained_node_keeps_its_sessions_and_gets_none_until_it_is_ready() {
    let (a, b, ecm, socket) = two();
    let mut clients = log_in(&ecm, 4);
    let text = ok(&socket, &["drain", "b"]);
    assert_eq!(text, "node b gets no new sessions; it has 2\n");
    clients.extend(log_in(&ecm, 4));
    assert_eq!((a.sessions(), b.sessions()), (6, 2));
    let table = ok(&socket, &["nodes"]);
    assert!(table.contains("\nb     drain  well"), "{table}");
    let shares = ok(&socket, &["rebalance", "--json"]);
    let shares: serde_json::Value = serde_json::from_str(&shares).unwrap();
    assert_eq!(shares["shares"][0]["share"], 8);
    assert_eq!(shares["shares"][1]["surplus"], 2);
    // What has to leave it leaves it anyway.
    let table = ok(&socket, &["rebalance"]);
    assert!(
        table.starts_with(
            "NODE  SESSIONS  SHARE  SURPLUS\na     6         8      0\nb     2         0      2\n"
        ),
        "{table}"
    );
    assert!(
        table.contains("past its slow start has more than its share"),
        "{table}"
    );
    assert_eq!(ok(&socket, &["ready", "b"]), "node b is ready\n");
    let table = ok(&socket, &["rebalance"]);
    assert!(
        table.contains("\na     6         4      2\nb     2         4      0\n"),
        "{table}"
    );
    assert!(table.contains("move to nodes that have fewer"), "{table}");
    clients.extend(log_in(&ecm, 4));
    assert_eq!((a.sessions(), b.sessions()), (6, 6));
}

#[test]
fn a_node_in_maintenance_has_no_trunks() {
    let (a, b, mut ecm, socket) = two_with("maintenance_timeout = \"0s\"\n");
    let mut clients = log_in(&ecm, 4);
    let text = ok(&socket, &["maintenance", "b"]);
    assert_eq!(text, "node b is in maintenance; its 2 sessions end\n");
    wait_until("the end of b's trunks", || b.trunks() == 0);
    clients.extend(log_in(&ecm, 2));
    assert_eq!((a.sessions(), b.sessions()), (4, 2));
    let table = ok(&socket, &["nodes"]);
    assert!(table.contains("\nb     maintenance  down"), "{table}");
    // The clients of a see nothing of it.
    let ended = clients.iter_mut().take(4).filter(|client| {
        client.stream.set_nonblocking(true).unwrap();
        let mut byte = [0];
        client.stream.peek(&mut byte).is_ok()
    });
    assert_eq!(ended.count(), 2);
    ok(&socket, &["ready", "b"]);
    ecm.wait_for_log("trunk to b is up");
    clients.extend(log_in(&ecm, 4));
    assert!(b.sessions() > 2);
}

#[test]
fn sessions_that_can_not_move_end_when_the_time_of_maintenance_is_over() {
    let (_a, b, mut ecm, socket) = two_with("maintenance_timeout = \"3s\"\n");
    let _clients = log_in(&ecm, 4);
    let text = ok(&socket, &["maintenance", "b"]);
    assert_eq!(
        text,
        "node b is in maintenance; its 2 sessions move to other nodes, and then its trunks end; sessions that are left \
         in 3s end with them\n"
    );
    // They are where they were until then.
    let table = ok(&socket, &["nodes"]);
    assert!(
        table.contains("\nb     maintenance  well       2       2"),
        "{table}"
    );
    ecm.wait_for_log("with the sessions that could not move sessions=2 ended=2");
    wait_until("the end of b's trunks", || b.trunks() == 0);
    // With none there is nothing to wait for.
    ok(&socket, &["ready", "b"]);
    ecm.wait_for_log("trunk to b is up");
    let text = ok(&socket, &["maintenance", "b"]);
    assert_eq!(text, "node b is in maintenance; its 0 sessions end\n");
    ecm.wait_for_log("no session is left");
    wait_until("the end of b's trunks", || b.trunks() == 0);
}

#[test]
fn errors_say_what_to_do() {
    let (_a, _b, ecm, socket) = two();
    let error = wrong(&socket, &["drain", "c"]);
    assert_eq!(
        error,
        "megaphone-ecm ctl: there is no such node; there are: a, b\n"
    );
    let error = wrong(Path::new("/nowhere/ctl.sock"), &["nodes"]);
    assert!(
        error.contains("can't connect to /nowhere/ctl.sock"),
        "{error}"
    );
    assert!(error.contains("is megaphone-ecm running"), "{error}");
    let config = ecm.config.to_str().unwrap().to_owned();
    let said = ctl(&["nodes", "--config", &config]);
    assert_eq!(said.code, 0, "{}", said.error);
    let other = write_config("");
    let said = ctl(&["nodes", "--config", other.to_str().unwrap()]);
    assert!(
        said.error.contains("has no [control] socket"),
        "{}",
        said.error
    );
    std::fs::remove_file(other).unwrap();
    let said = ctl(&["--help"]);
    for word in [
        "nodes",
        "drain",
        "ready",
        "maintenance",
        "rebalance",
        "sessions",
        "reload",
        "--json",
    ] {
        assert!(said.out.contains(word), "{}", said.out);
    }
    let said = ctl(&["drain"]);
    assert!(
        said.code != 0 && said.error.contains("<NODE>"),
        "{}",
        said.error
    );
}

#[test]
fn the_socket_is_the_users_own_and_one_programs() {
    let (_a, _b, mut ecm, path) = two();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let config = format!(
        "[control]\nsocket = \"{}\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n",
        path.display()
    );
    let file = write_config(&config);
    let output = command().arg("--config").arg(&file).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(
        error.contains("another program already takes commands on"),
        "{error}"
    );
    assert_eq!(ok(&path, &["ready", "a"]), "node a is ready\n");
    ecm.signal("TERM");
    assert_eq!(ecm.wait_for_exit().code(), Some(0));
    assert!(!path.exists());
    // What one left that was killed is removed; what is no socket is not.
    drop(UnixListener::bind(&path).unwrap());
    let ecm = Ecm::start_with_config(&config);
    assert!(ok(&path, &["nodes"]).contains("127.0.0.1:5290"));
    drop(ecm);
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "mine").unwrap();
    let output = command().arg("--config").arg(&file).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(error.contains("is not a socket"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    std::fs::remove_file(&path).unwrap();
    std::fs::remove_file(&file).unwrap();
    refuses_config("[control]\nsocket = 1\n", "control.socket");
}

#[test]
fn a_reload_by_command_says_what_came_of_it_and_changes_nodes() {
    let (a, b, ecm, socket) = two();
    let c = TestNode::start();
    let mut clients = log_in(&ecm, 4);
    let config = std::fs::read_to_string(&ecm.config).unwrap();
    let without_b = config.replace(
        &format!("[[node]]\naddress = \"{}\"\nname = \"b\"\n", b.address),
        &format!(
            "[[node]]\naddress = \"{}\"\nname = \"c\"\nweight = 200\n",
            c.address
        ),
    );
    assert_ne!(without_b, config);
    std::fs::write(&ecm.config, without_b).unwrap();
    assert_eq!(ok(&socket, &["reload"]), "the configuration is reloaded\n");
    wait_until("c", || c.trunks() == 2);
    clients.extend(log_in(&ecm, 6));
    assert_eq!((a.sessions(), b.sessions(), c.sessions()), (2, 2, 6));
    assert!(wrong(&socket, &["ready", "b"]).contains("no longer configured"));
    std::fs::write(&ecm.config, "[trunk]\ntrunks = \"x\"\n").unwrap();
    let error = wrong(&socket, &["reload"]);
    assert!(
        error.contains("the configuration is not reloaded:"),
        "{error}"
    );
    assert!(error.contains(":2:10: trunk.trunks"), "{error}");
    clients.clear();
    wait_until("b's end", || b.trunks() == 0);
    wait_until("b's absence", || !ok(&socket, &["nodes"]).contains("\nb "));
}

#[test]
fn a_program_speaks_lines_of_json() {
    let (_a, _b, _ecm, path) = two();
    let stream = UnixStream::connect(&path).unwrap();
    let mut lines = BufReader::new(&stream).lines();
    let mut ask = |line: &str| {
        (&stream).write_all(format!("{line}\n").as_bytes()).unwrap();
        lines.next().unwrap().unwrap()
    };
    // Several on one connection, and what is wrong ends none.
    let answer = ask("{\"version\":1,\"command\":\"ready\",\"node\":\"a\"}");
    assert_eq!(answer, "{\"version\":1,\"done\":\"node a is ready\"}");
    assert!(ask("nodes").starts_with("{\"version\":1,\"error\":\"this is not a line of JSON"));
    assert!(ask("{\"version\":9,\"command\":\"nodes\"}").contains("speaks version 1"));
    assert!(
        ask("{\"version\":1,\"command\":\"nodes\"}")
            .starts_with("{\"version\":1,\"nodes\":[{\"name\":\"a\"")
    );
}

#[test]
fn leave_returns_when_the_program_has_ended() {
    let (a, b, mut ecm, socket) = two_with("[limits]\nclose_spread = \"640ms\"\n");
    let nodes = std::thread::spawn(move || {
        ecm.wait_for_log("leaving: clients are disconnected over the next 640ms");
        drop((a, b));
        ecm
    });
    let text = ok(&socket, &["leave"]);
    assert_eq!(
        text,
        "the clients are let go over close_spread, and then the program ends\n"
    );
    assert!(!socket.exists());
    assert!(nodes.join().unwrap().wait_for_exit().success());
}

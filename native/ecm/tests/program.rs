//! The program from outside: its arguments, its configuration, its signals, its exit codes.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod common;

use std::fs::Permissions;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use common::authority::Authority;
use common::{
    Client, Ecm, PATIENCE, Peer, command, get, ok, status, wait, with_socket, write_config,
};

fn run(arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = command().args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[test]
fn version_and_help() {
    let (code, out, _) = run(&["-V"]);
    let version = concat!("megaphone-ecm ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!((code, out.as_str()), (Some(0), version));
    let (code, out, _) = run(&["--version"]);
    assert_eq!(code, Some(0));
    assert!(out.starts_with(version), "{out}");
    for feature in ["trunks: v2", "TLS: 1.3, 1.2", "systemd: notify, watchdog"] {
        assert!(out.contains(feature), "no {feature} in:\n{out}");
    }
    let (code, out, _) = run(&["--help"]);
    assert_eq!(code, Some(0));
    for option in [
        "--config <FILE>",
        "--check-config",
        "--print-defaults",
        "--version",
        "--help",
    ] {
        assert!(out.contains(option), "no {option} in:\n{out}");
    }
}

#[test]
fn what_it_prints_as_configuration_it_accepts() {
    let (code, sample, _) = run(&["--print-defaults"]);
    assert_eq!(code, Some(0));
    assert_eq!(run(&["--print-config"]).1, sample);
    let file = write_config(&sample);
    let name = file.to_str().unwrap();
    for arguments in [
        &["--config", name, "--check-config"][..],
        &["--config", name, "check"],
        &["check", "--config", name],
    ] {
        assert_eq!(run(arguments), (Some(0), String::new(), String::new()));
    }
    std::fs::remove_file(file).unwrap();
}

#[test]
fn a_wrong_configuration_is_an_error_with_its_place() {
    let file = write_config("[limits]\nmax_head = \"big\"\n");
    let name = file.to_str().unwrap();
    for arguments in [
        &["--config", name, "--check-config"][..],
        &["--config", name],
    ] {
        let (code, out, error) = run(arguments);
        assert_eq!((code, out.as_str()), (Some(1), ""));
        assert!(
            error.contains(&format!(
                "{name}:2:12: limits.max_head: \"big\" is not a size"
            )),
            "{error}"
        );
    }
    std::fs::remove_file(&file).unwrap();
    let (code, _, error) = run(&["--config", name]);
    assert_eq!(code, Some(1));
    assert!(error.contains(&format!("can't read {name}: ")), "{error}");
}

#[test]
fn check_says_all_that_is_wrong_and_unwise_with_its_line_and_key() {
    let authority = Authority::new();
    let good = authority.sign("a.example").table();
    let secrets = write_config("c2hvcnQ=\n");
    let file = write_config(&format!(
        "threads = -1\n[tls]\nticket_keys = \"{}\"\n[xmpp]\nclient_ca = \"/nonexistent/ca.pem\"\n\
         [metrics]\naddress = \"0.0.0.0:9290\"\n[[certificate]]\ncert = \"/nonexistent/cert.pem\"\n\
         key = \"/nonexistent/cert.key\"\n{good}",
        secrets.display()
    ));
    let name = file.to_str().unwrap();
    let (code, out, said) = run(&["check", "--config", name]);
    assert_eq!((code, out.as_str()), (Some(1), ""));
    for (place, text) in [
        (
            "warning: ",
            "7:11: metrics.address: 0.0.0.0:9290 is every address",
        ),
        ("", "1:11: threads: -1 is out of bounds"),
        (
            "",
            "9:8: certificate.cert: can't read /nonexistent/cert.pem",
        ),
        (
            "",
            "10:7: certificate.key: can't read /nonexistent/cert.key",
        ),
        ("", "5:13: xmpp.client_ca: can't read /nonexistent/ca.pem"),
        ("", "3:15: tls.ticket_keys: line 1 of "),
    ] {
        let line = format!("megaphone-ecm: {place}{name}:{text}");
        assert!(
            said.lines().any(|it| it.starts_with(&line)),
            "no {line} in:\n{said}"
        );
    }
    let is_of_good = |line: &&str| line.contains("every user of this machine");
    let others = said.lines().filter(|line| !is_of_good(line)).count();
    assert_eq!(others, 6, "{said}");
    std::fs::remove_file(secrets).unwrap();
    std::fs::remove_file(file).unwrap();
}

#[test]
fn check_warns_of_a_key_that_everybody_can_read() {
    let authority = Authority::new();
    let certificate = authority.sign("a.example");
    let file = write_config(&certificate.table());
    let name = file.to_str().unwrap();
    for (mode, expected) in [
        (0o640, ""),
        (
            0o644,
            "certificate.key: every user of this machine can read",
        ),
    ] {
        std::fs::set_permissions(&certificate.key, Permissions::from_mode(mode)).unwrap();
        let (code, out, said) = run(&["check", "--config", name]);
        assert_eq!((code, out.as_str()), (Some(0), ""), "{said}");
        assert_eq!(said.is_empty(), expected.is_empty(), "{said}");
        assert!(said.contains(expected), "{said}");
    }
    std::fs::remove_file(file).unwrap();
}

#[test]
fn check_warns_of_a_certificate_that_is_not_valid_now_or_not_for_long() {
    const DAY: u64 = 24 * 60 * 60;
    let authority = Authority::new();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now = now.as_secs();
    let ca = authority.ca();
    for (number, from, until, expected) in [
        (0, now - DAY, now + 15 * DAY, None),
        (
            1,
            now - DAY,
            now + 14 * DAY - 60,
            Some(("expires on ", ", in 13 days; renew it")),
        ),
        (2, now - 2 * DAY, now - DAY, Some(("expired on ", ""))),
        (
            3,
            now + DAY,
            now + 99 * DAY,
            Some(("is not valid before ", "")),
        ),
    ] {
        let pair = authority.sign_between(&format!("{number}.example"), from, until);
        std::fs::set_permissions(&pair.key, Permissions::from_mode(0o600)).unwrap();
        let (cert, key) = (pair.cert.display(), pair.key.display());
        let own = format!("cert = \"{cert}\"\nkey = \"{key}\"\n");
        let of_trunk = format!("[trunk.tls]\nca = \"{}\"\n{own}", ca.display());
        for (line, name, config) in [
            (2, "certificate.cert", format!("[[certificate]]\n{own}")),
            (3, "trunk.tls.cert", of_trunk),
        ] {
            let file = write_config(&config);
            let path = file.to_str().unwrap();
            let (code, out, said) = run(&["check", "--config", path]);
            assert_eq!((code, out.as_str()), (Some(0), ""), "{said}");
            match expected {
                None => assert_eq!(said, ""),
                Some((what, end)) => {
                    let start = format!(
                        "megaphone-ecm: warning: {path}:{line}:8: {name}: the certificate in {cert} {what}20"
                    );
                    assert!(said.starts_with(&start), "no {start} in:\n{said}");
                    assert!(said.trim_end().ends_with(end), "{said}");
                    assert_eq!(said.lines().count(), 1, "{said}");
                }
            }
            std::fs::remove_file(file).unwrap();
        }
    }
}

#[test]
fn a_certificate_between_that_has_expired_is_named_by_its_number() {
    let authority = Authority::new();
    let (own, between) = (
        authority.sign("a.example"),
        authority.sign_until("b.example", 2001),
    );
    let mut chain = std::fs::read(&own.cert).unwrap();
    chain.extend(std::fs::read(&between.cert).unwrap());
    std::fs::write(&own.cert, chain).unwrap();
    std::fs::set_permissions(&own.key, Permissions::from_mode(0o600)).unwrap();
    let file = write_config(&own.table());
    let path = file.to_str().unwrap();
    let (code, _, said) = run(&["check", "--config", path]);
    let expected = format!(
        "megaphone-ecm: warning: {path}:2:8: certificate.cert: certificate 2 in {} expired on 2001-01-01 00:00:00 UTC: \
         whoever verifies it refuses it\n",
        own.cert.display()
    );
    assert_eq!((code, said), (Some(0), expected));
    std::fs::remove_file(file).unwrap();
}

#[test]
fn a_key_that_is_not_of_its_certificate_is_found_by_check() {
    let authority = Authority::new();
    let (one, other) = (authority.sign("a.example"), authority.sign("b.example"));
    let file = write_config(&format!(
        "\n[[certificate]]\ncert = \"{}\"\nkey = \"{}\"\n",
        one.cert.display(),
        other.key.display()
    ));
    let name = file.to_str().unwrap();
    let (code, _, said) = run(&["check", "--config", name]);
    let start = format!(
        "megaphone-ecm: {name}:2:1: certificate: {} and ",
        one.cert.display()
    );
    let errors: Vec<_> = said
        .lines()
        .filter(|line| !line.contains("warning:"))
        .collect();
    assert_eq!((code, errors.len()), (Some(1), 1), "{said}");
    assert!(errors[0].starts_with(&start), "{said}");
    std::fs::remove_file(file).unwrap();
}

#[test]
fn an_address_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let file = write_config(&format!("[[listener]]\naddress = \"{address}\"\n"));
    let (code, _, error) = run(&["--config", file.to_str().unwrap()]);
    assert_eq!(code, Some(1));
    assert!(
        error.contains(&format!(
            "can't listen on {address}: Address already in use"
        )),
        "{error}"
    );
    std::fs::remove_file(file).unwrap();
}

#[test]
fn too_many_clients_get_503() {
    let peer = Peer::start();
    let mut ecm = Ecm::start(&peer, "[limits]\nmax_connections = 1\n");
    let mut trunk = peer.accept();
    ecm.wait_for_log("is up");
    let mut first = ecm.client();
    first.send(&get("/"));
    let (id, _) = trunk.request();
    let answer = ecm.client().rest();
    assert_eq!(status(&answer), 503, "{answer}");
    assert!(answer.contains("too many clients"), "{answer}");
    trunk.answer(&id, "hello");
    first.expect(&ok("hello"));
}

#[test]
fn sigterm_lets_answers_finish_and_closes_the_idle() {
    for signal in ["TERM", "INT"] {
        let peer = Peer::start();
        let mut ecm = Ecm::start(&peer, "");
        let mut trunk = peer.accept();
        ecm.wait_for_log("is up");
        let mut busy = ecm.client();
        busy.send(&get("/busy"));
        let (busy_id, _) = trunk.request();
        let mut idle = ecm.client();
        idle.send(&get("/idle"));
        let (idle_id, _) = trunk.request();
        trunk.answer(&idle_id, "idle");
        idle.expect(&ok("idle"));
        ecm.signal(signal);
        assert_eq!(idle.rest(), "");
        drop(idle);
        assert_eq!(trunk.closed(), idle_id);
        let until = Instant::now() + PATIENCE;
        while TcpStream::connect(ecm.address).is_ok() {
            assert!(Instant::now() < until, "it still accepts");
        }
        trunk.answer(&busy_id, "finished");
        assert_eq!(busy.rest(), ok("finished"));
        drop(busy);
        assert_eq!(trunk.closed(), busy_id);
        assert_eq!(trunk.next(), None, "the trunk ends in order");
        assert_eq!(ecm.wait_for_exit().code(), Some(0));
    }
}

#[test]
fn shutdown_timeout_ends_what_does_not_finish() {
    let peer = Peer::start();
    let mut ecm = Ecm::start(&peer, "[limits]\nshutdown_timeout = \"50ms\"\n");
    let mut trunk = peer.accept();
    ecm.wait_for_log("is up");
    let mut client = ecm.client();
    client.send(&get("/"));
    let (id, _) = trunk.request();
    ecm.signal("TERM");
    assert_eq!(client.rest(), "");
    assert_eq!(trunk.closed(), id);
    assert_eq!(trunk.next(), None);
    assert_eq!(ecm.wait_for_exit().code(), Some(0));
}

/// Connects, asks and reads the answer again and again, until it is told to stop; how often it did.
fn hammer(address: SocketAddr, stop: &AtomicBool) -> u32 {
    let mut answers = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut client = Client::connect(address);
        client.send("GET /a HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        assert_eq!(status(&client.rest()), 200);
        answers += 1;
    }
    answers
}

/// A trunk that answers each request, and the configuration of a program with a trunk to it.
fn answering(listener: &str) -> (Peer, String) {
    let peer = Peer::start();
    let config = format!(
        "[trunk]\naddress = \"{}\"\nprotocol = \"v1\"\ntrunks = 1\n[limits]\nclose_spread = \"640ms\"\n\
         [[listener]]\n{listener}",
        peer.address
    );
    (peer, config)
}

/// Four clients connect all the time, while programs take the places of one another.
fn replace(mut old: Ecm, peer: &Peer, next: impl Fn(&Ecm) -> Ecm) {
    let echo = |peer: &Peer| {
        let trunk = peer.accept();
        std::thread::spawn(move || trunk.echo())
    };
    let mut trunks = vec![echo(peer)];
    old.wait_for_log("is up");
    let (address, stop) = (old.address, AtomicBool::new(false));
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| hammer(address, &stop)))
            .collect();
        for _ in 0..3 {
            let mut new = next(&old);
            trunks.push(echo(peer));
            new.wait_for_log(&format!(
                "process {} was told to let its clients go",
                old.id()
            ));
            assert!(old.wait_for_exit().success());
            old = new;
        }
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            assert!(client.join().unwrap() > 0);
        }
    });
    drop(old);
    for trunk in trunks {
        trunk.join().unwrap();
    }
}

#[test]
fn a_program_that_inherits_the_socket_takes_the_place_of_another_and_no_connection_fails() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let (peer, config) = answering(&format!("address = \"{address}\"\n"));
    let old = Ecm::start_with_socket(&socket, &[], &config);
    replace(old, &peer, |old| {
        Ecm::start_with_socket(&socket, &["--replaces", &old.id().to_string()], &config)
    });
}

#[test]
fn a_program_takes_the_sockets_of_another_and_no_connection_fails() {
    let (peer, config) = answering("address = \"127.0.0.1:0\"\n");
    let old = Ecm::start_with_config(&config);
    let config = config.replace("127.0.0.1:0", &old.address.to_string());
    replace(old, &peer, |old| {
        Ecm::start_with(&["--replaces", &old.id().to_string()], &config)
    });
}

#[test]
fn a_process_that_is_not_there_is_not_replaced() {
    let mut gone = Command::new("true").spawn().unwrap();
    let id = gone.id().to_string();
    wait(&mut gone);
    let (peer, config) = answering("address = \"127.0.0.1:0\"\n");
    let mut ecm = Ecm::start_with(&["--replaces", &id], &config);
    ecm.find_in_log(&format!(
        "can't take the listening sockets of process {id}: No such process"
    ));
    let _trunk = peer.accept();
    ecm.wait_for_log(&format!(
        "process {id} can't be told to let its clients go (SIGUSR1): No such process"
    ));
    for wrong in ["0", "-1", "x"] {
        let (code, _, error) = run(&["--replaces", wrong]);
        assert_eq!(code, Some(2), "{error}");
    }
}

#[test]
fn a_socket_that_nobody_wants_is_named() {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let (_peer, config) = answering("address = \"127.0.0.1:0\"\n");
    let file = write_config(&config);
    let output = with_socket(&socket)
        .arg("--config")
        .arg(&file)
        .output()
        .unwrap();
    std::fs::remove_file(file).unwrap();
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{error}");
    let address = socket.local_addr().unwrap();
    let expected = format!(
        "LISTEN_FDS has a socket at {address}, and no [[listener]] has this address; write one, or remove the \
         socket's ListenStream"
    );
    assert!(error.contains(&expected), "{error}");
}

#[test]
fn a_second_signal_ends_at_once() {
    let peer = Peer::start();
    let mut ecm = Ecm::start(&peer, "[limits]\nshutdown_timeout = \"1h\"\n");
    let mut trunk = peer.accept();
    ecm.wait_for_log("is up");
    let mut client = ecm.client();
    client.send(&get("/"));
    trunk.request();
    ecm.signal("TERM");
    ecm.wait_for_log("a second signal ends at once");
    ecm.signal("TERM");
    assert_eq!(ecm.wait_for_exit().code(), Some(1));
}

#[test]
fn sighup_applies_what_can_change_and_names_what_cannot() {
    let peer = Peer::start();
    let mut ecm = Ecm::start(&peer, "");
    let mut trunk = peer.accept();
    ecm.wait_for_log("is up");
    let text = std::fs::read_to_string(&ecm.config).unwrap();
    let changed = text.replace("10ms", "20ms") + "[limits]\nmax_headers = 1\n";
    std::fs::write(&ecm.config, changed).unwrap();
    ecm.signal("HUP");
    ecm.wait_for_log("configuration reloaded from");
    ecm.wait_for_log("changed, but in effect only after a restart: trunk.backoff_min");
    let mut client = ecm.client();
    client.send("GET / HTTP/1.1\r\nHost: a\r\nAccept: b\r\n\r\n");
    assert_eq!(status(&client.rest()), 431);
    std::fs::write(&ecm.config, "[limits]\nmax_headers = 0\n").unwrap();
    ecm.signal("HUP");
    let line = ecm.wait_for_log("the configuration is not reloaded");
    assert!(
        line.contains(":2:15: limits.max_headers: 0 is out of bounds"),
        "{line}"
    );
    let mut client = ecm.client();
    client.send(&get("/"));
    assert!(
        trunk.request().1.starts_with("GET / "),
        "it goes on with what it had"
    );
}

#[test]
fn without_a_configuration_file_the_defaults_apply() {
    // Their port may be in use here; either way the default address is the one that is named.
    let mut child = command()
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let stderr = child.stderr.take().unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stderr), &mut line).unwrap();
    child.kill().unwrap();
    assert!(wait(&mut child).code() != Some(0));
    assert!(
        line.contains("127.0.0.1:5280") || line.contains("limit of open files"),
        "{line}"
    );
}

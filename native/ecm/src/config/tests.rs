//! What can be written in the file, and how what can't is refused.

use std::path::Path;
use std::time::Duration;

use megaphone_xmpp::Limits;

use super::values::KIB;
use super::*;

fn parse(text: &str) -> Result<Config, String> {
    let reading = Reading::of_text(Path::new("ecm.toml"), text.to_owned());
    reading.into_config().map_err(|error| error.to_string())
}

#[test]
fn the_sample_says_the_defaults() {
    let default = Config {
        names_listeners: true,
        ..Config::default()
    };
    assert_eq!(parse(SAMPLE), Ok(default));
}

#[test]
fn an_empty_file_is_the_defaults() {
    assert_eq!(parse(""), Ok(Config::default()));
}

#[test]
fn the_sample_has_every_key_with_a_comment_above_it() {
    let lines: Vec<_> = SAMPLE.lines().collect();
    let mut keys = 0;
    for (n, line) in lines
        .iter()
        .enumerate()
        .filter(|(_, line)| line.contains(" = "))
    {
        if !line.starts_with('#') {
            keys += 1;
            assert!(
                n > 0 && lines[n - 1].starts_with("# "),
                "no comment above: {line}"
            );
        }
    }
    // threads, trusted_proxies, 7 of the trunk, 12 of nodes, 3 of a listener, 5 of WebSocket, 10 of BOSH, 1 of
    // host-meta, 2 of XML streams, 25 limits, 2 of the log.
    assert_eq!(keys, 69);
}

#[test]
fn threads_and_trunks_are_as_many_as_asked_for() {
    let counts = |text: &str| {
        let config = parse(text).unwrap();
        (config.thread_count(), config.trunk_count())
    };
    assert_eq!(counts("threads = 3\n"), (3, 3));
    assert_eq!(counts("threads = 9\n"), (9, 4));
    assert_eq!(counts("threads = 3\n[trunk]\ntrunks = 5\n"), (3, 5));
    let (threads, trunks) = counts("");
    assert!(threads >= 1);
    assert_eq!(trunks, threads.min(4));
}

#[test]
fn what_can_be_written() {
    let config = parse(
        "trusted_proxies = [\"10.0.0.0/8\", \"::1\"]\n\
         [trunk]\naddress = \"unix:/run/ejabberd/trunk.sock\"\n\
         [[listener]]\naddress = \"[::]:80\"\n\
         [[listener]]\naddress = \"127.0.0.1:81\"\nkind = \"xmpp\"\nproxy_protocol = true\n\
         [[listener]]\naddress = \"127.0.0.1:82\"\nkind = \"https\"\n\
         [[certificate]]\ncert = \"a.pem\"\nkey = \"a.key\"\n\
         [[certificate]]\ncert = \"b.pem\"\nkey = \"b.key\"\n\
         [xmpp]\nwhitespace_interval = \"1m\"\nidle_timeout = \"off\"\n\
         [limits]\nmax_head = \"16 KiB\"\nidle_timeout = \"500ms\"\nmax_connections = 7\n\
         [log]\nlevel = \"warn,megaphone_ecm::trunk=debug\"\n",
    )
    .unwrap();
    assert_eq!(config.trusted_proxies.len(), 2);
    assert_eq!(
        config.trunk.address,
        TrunkAddress::Unix("/run/ejabberd/trunk.sock".into())
    );
    assert_eq!(config.listeners.len(), 3);
    assert_eq!(
        config
            .listeners
            .iter()
            .map(|it| it.service)
            .collect::<Vec<_>>(),
        [
            Service::Http,
            Service::Streams(StartTls::Required),
            Service::Http
        ]
    );
    assert_eq!(
        config.xmpp.whitespace_interval,
        Some(Duration::from_secs(60))
    );
    assert_eq!(config.xmpp.idle_timeout, None);
    assert_eq!(config.certificates.len(), 2);
    assert_eq!(config.certificates[1].key, Path::new("b.key"));
    assert_eq!(
        (config.listeners[0].kind, config.listeners[0].proxy_protocol),
        (ListenerKind::Http, false)
    );
    assert_eq!(
        (config.listeners[1].kind, config.listeners[1].proxy_protocol),
        (ListenerKind::Xmpp, true)
    );
    assert_eq!(config.limits.max_head, 16 * KIB);
    assert_eq!(config.limits.idle_timeout, Duration::from_millis(500));
    assert_eq!(config.limits.max_connections, 7);
}

#[test]
fn nodes_have_names_weights_and_limits() {
    let config = parse(
        "[[node]]\naddress = \"10.0.0.1:5290\"\n\
         [[node]]\naddress = \"unix:/run/b.sock\"\nname = \"b\"\nweight = 3\nmax_sessions = 7\n\
         [nodes]\nslow_start = \"0s\"\neject_after = 0\n",
    )
    .unwrap();
    let nodes = config.all_nodes();
    let of = |node: &NodeConfig| (node.name().into_owned(), node.weight, node.max_sessions);
    assert_eq!(of(&nodes[0]), ("10.0.0.1:5290".to_owned(), 1, 0));
    assert_eq!(of(&nodes[1]), ("b".to_owned(), 3, 7));
    assert_eq!(config.nodes.slow_start, Duration::ZERO);
    let address = |text: &str| {
        let text = format!("[[node]]\naddress = \"{text}\"\n");
        parse(&text).unwrap().all_nodes()[0].address.clone()
    };
    let fixed = TrunkAddress::Tcp("[::1]:5290".to_owned());
    assert_eq!(address("[::1]:5290"), NodeAddress::Fixed(fixed));
    let (host, port) = ("a.example.org".to_owned(), 5290);
    assert_eq!(
        address("a.example.org:5290"),
        NodeAddress::Name { host, port }
    );
    assert_eq!(
        address("srv:_m._tcp.a"),
        NodeAddress::Srv("_m._tcp.a".to_owned())
    );
    let one = parse("[trunk]\naddress = \"10.0.0.1:5290\"\n").unwrap();
    assert_eq!(one.all_nodes()[..], nodes[..1]);
}

#[test]
fn documents_have_the_limits_of_the_file() {
    let limits = LimitsConfig::default();
    let document = limits.of_document(usize::MAX);
    let expected = Limits {
        max_document: 1 << 20,
        ..Limits::default()
    };
    assert_eq!(document, expected);
    assert_eq!(limits.of_document(1000).max_document, 1000);
    let text = "[limits]\nmax_stanza_size = \"20000 B\"\nmax_depth = 16\nmax_attributes = 10000\n";
    let limits = parse(text).unwrap().limits.of_document(30_000);
    let expected = Limits {
        max_document: 20_000,
        max_depth: 16,
        max_attributes: 10_000,
    };
    assert_eq!(limits, expected);
}

/// Each row: a file, and the error's text in full.
#[test]
fn each_error_names_its_place_its_key_and_what_is_allowed() {
    for (text, expected) in [
        (
            "[limits]\nmax_heads = \"1 KiB\"\n",
            "ecm.toml:2:1: limits.max_heads: unknown field `max_heads`, expected one of \
             `handshake_timeout`, `head_timeout`, `body_timeout`, `min_body_rate`, `idle_timeout`, `send_timeout`, \
             `auth_timeout`, `shutdown_timeout`, `close_spread`, `max_head`, `max_headers`, `max_chunked_body`, \
             `max_stanza_size`, `max_depth`, `max_attributes`, `max_stanza_from_ejabberd`, `max_connections`, \
             `max_connections_per_address`, `connections_per_second_per_address`, \
             `logins_per_second_per_address`, `logins_at_once`, `login_wait`, `max_client_buffer`, `max_output_buffer`, `max_input_buffer`",
        ),
        (
            "[fleet]\nname = \"a-b\"\n",
            "ecm.toml:2:8: fleet.name: \"a-b\" is not a name for an ECM, write 1 to 32 letters, digits and \
             underscores, such as \"ecm1\"",
        ),
        (
            "[tls]\nticket_keys = 3\n",
            "ecm.toml:2:15: tls.ticket_keys: invalid type: integer `3`, expected a file's path as text",
        ),
        (
            "trunks = 4\n",
            "ecm.toml:1:1: trunks: unknown field `trunks`, expected one of \
             `threads`, `trusted_proxies`, `trunk`, `node`, `nodes`, `fleet`, `listener`, `websocket`, `host_meta`, \
             `certificate`, `tls`, `xmpp`, `bosh`, `limits`, `metrics`, `control`, `log`",
        ),
        (
            "\n[limits]\n  max_head = 4096\n",
            "ecm.toml:3:14: limits.max_head: invalid type: integer `4096`, expected a size \
             as text, such as \"64 KiB\" (units: B, KiB, MiB, GiB)",
        ),
        (
            "[limits]\nmax_head = \"4 kB\"\n",
            "ecm.toml:2:12: limits.max_head: \"4 kB\" is not a size, write one such as \
             \"64 KiB\" (units: B, KiB, MiB, GiB)",
        ),
        (
            "[limits]\nmax_head = \"10 B\"\n",
            "ecm.toml:2:12: limits.max_head: \"10 B\" is out of bounds, allowed are 256 B to \
             1 MiB",
        ),
        (
            "[limits]\nhead_timeout = \"ten seconds\"\n",
            "ecm.toml:2:16: limits.head_timeout: \"ten seconds\" is not a length of time, \
             write one such as \"30s\" (units: ms, s, m, h)",
        ),
        (
            "[limits]\nhead_timeout = \"2h\"\n",
            "ecm.toml:2:16: limits.head_timeout: \"2h\" is out of bounds, allowed are 10ms to \
             1h",
        ),
        (
            "[limits]\nmax_connections = 0\n",
            "ecm.toml:2:19: limits.max_connections: 0 is out of bounds, allowed are 1 to \
             10000000",
        ),
        (
            "[trunk]\nprotocol = \"v3\"\n",
            "ecm.toml:2:12: trunk.protocol: \"v3\" is not a protocol, write \"v2\" or \"v1\"",
        ),
        (
            "[trunk]\ntrunks = 257\n",
            "ecm.toml:2:10: trunk.trunks: 257 is out of bounds, allowed are 0 to 256",
        ),
        (
            "[trunk.tls]\ncert = \"c.pem\"\n",
            "ecm.toml:1:1: trunk.tls: missing field `ca`",
        ),
        (
            "[trunk.tls]\nca = \"ca.pem\"\ncert = \"c.pem\"\n",
            "ecm.toml:1:1: trunk.tls: cert needs key, the file of its private key",
        ),
        (
            "[trunk.tls]\nca = \"ca.pem\"\nkey = \"c.key\"\n",
            "ecm.toml:1:1: trunk.tls: key needs cert, the file of its certificate",
        ),
        (
            "[trunk.tls]\nca = \"\"\n",
            "ecm.toml:2:6: trunk.tls.ca: invalid value: string \"\", expected a file's path as text",
        ),
        (
            "[trunk]\naddress = \"unix:/t\"\n[trunk.tls]\nca = \"ca.pem\"\n",
            "ecm.toml:1:1: trunk: TLS over a Unix socket needs tls.server_name, as the address \
             has no host name",
        ),
        (
            "[trunk]\nprotocol = \"v1\"\n[[listener]]\naddress = \"127.0.0.1:1\"\n\
             kind = \"xmpp\"\n",
            "ecm.toml:5:8: listener.kind: version 1 of the trunk's protocol carries only HTTP; \
             XMPP needs trunk.protocol = \"v2\"",
        ),
        (
            "[[listener]]\naddress = \"127.0.0.1:1\"\nkind = \"https\"\n",
            "ecm.toml:3:8: listener.kind: TLS needs a certificate; write a [[certificate]] with \
             cert and key",
        ),
        (
            "[[listener]]\naddress = \"127.0.0.1:1\"\nkind = \"xmpp\"\n",
            "ecm.toml:3:8: listener.kind: STARTTLS needs a certificate; write a [[certificate]] \
             with cert and key, or starttls = \"off\"",
        ),
        (
            "[[listener]]\naddress = \"127.0.0.1:1\"\nkind = \"xmpps\"\nstarttls = \"off\"\n",
            "ecm.toml:1:1: listener: starttls is for the kind \"xmpp\"",
        ),
        (
            "[[listener]]\naddress = \"127.0.0.1:1\"\nrelay = true\n",
            "ecm.toml:1:1: listener: relay is for the kinds \"xmpp\" and \"xmpps\"",
        ),
        (
            "[[listener]]\naddress = \"127.0.0.1:1\"\nkind = \"xmpp\"\nrelay = true\n\
             starttls = \"off\"\n",
            "ecm.toml:1:1: listener: starttls can't be set together with relay: then STARTTLS is ejabberd's",
        ),
        (
            "[xmpp]\nidle_timeout = \"never\"\n",
            "ecm.toml:2:16: xmpp.idle_timeout: \"never\" is not a length of time, write one such \
             as \"30s\" (units: ms, s, m, h)",
        ),
        (
            "[[certificate]]\ncert = \"c.pem\"\n",
            "ecm.toml:1:1: certificate: missing field `key`",
        ),
        (
            "[[listener]]\naddress = \"127.0.0.1:1\"\nproxy_protocol = \"yes\"\n",
            "ecm.toml:3:18: listener.proxy_protocol: invalid type: string \"yes\", expected a \
             boolean",
        ),
        (
            "[trunk]\naddress = \"localhost\"\n",
            "ecm.toml:2:11: trunk.address: \"localhost\" is not an address, write HOST:PORT, \
             such as \"127.0.0.1:5290\", or unix:/PATH",
        ),
        (
            "[trunk]\nbackoff_min = \"20s\"\n",
            "ecm.toml:1:1: trunk: backoff_min is more than backoff_max; it must not be",
        ),
        (
            "[trunk]\naddress = \"127.0.0.1:1\"\n[[node]]\naddress = \"127.0.0.1:2\"\n",
            "ecm.toml:3:1: node: trunk.address is the short form for one [[node]]; write either",
        ),
        (
            "[[node]]\nname = \"a\"\n",
            "ecm.toml:1:1: node: missing field `address`",
        ),
        (
            "[[node]]\naddress = \"127.0.0.1:1\"\nname = \"a\"\n\
             [[node]]\naddress = \"127.0.0.1:2\"\nname = \"a\"\n",
            "ecm.toml:6:8: node.name: there are two nodes with the name \"a\"; give each another \
             name",
        ),
        (
            "[[node]]\naddress = \"127.0.0.1:1\"\n[[node]]\naddress = \"127.0.0.1:1\"\n",
            "ecm.toml:4:11: node.address: there are two nodes with the name \"127.0.0.1:1\"; give \
             each another name",
        ),
        (
            "[[node]]\naddress = \"127.0.0.1:1\"\nname = \"a b\"\n",
            "ecm.toml:3:8: node.name: \"a b\" is not a valid name of a node, write up to 64 letters, \
             digits and other visible ASCII characters except \" and \\, such as \"a\" or \"ejabberd@a.example.org\"",
        ),
        (
            "[[node]]\naddress = \"127.0.0.1:1\"\nweight = 0\n",
            "ecm.toml:3:10: node.weight: 0 is out of bounds, allowed are 1 to 256",
        ),
        (
            "[[node]]\naddress = \"unix:/t\"\n[trunk.tls]\nca = \"ca.pem\"\n",
            "ecm.toml:3:1: trunk.tls: TLS over a Unix socket needs tls.server_name, as the \
             address has no host name",
        ),
        (
            "[[node]]\naddress = \"srv:_m._tcp.a\"\n[trunk.tls]\nca = \"ca.pem\"\n",
            "ecm.toml:3:1: trunk.tls: TLS to the hosts of an SRV name needs tls.server_name: who \
             answers for the name could name any host",
        ),
        (
            "[[node]]\naddress = \"a b:1\"\n",
            "ecm.toml:2:11: node.address: \"a b:1\" is not the address of a node, write \
             HOST:PORT, unix:/PATH or srv:NAME, such as \"10.0.0.1:5290\" or \
             \"srv:_megaphone._tcp.example.org\"",
        ),
        (
            "[nodes]\nname_servers = [\"dns\"]\n",
            "ecm.toml:2:17: nodes.name_servers: \"dns\" is not a name server, write IP or \
             IP:PORT, such as \"10.0.0.53\"",
        ),
        (
            "[control]\nsocket = \"\"\n",
            "ecm.toml:2:10: control.socket: invalid value: string \"\", expected a file's path as \
             text",
        ),
        (
            "[nodes]\npanic_threshold = 101\n",
            "ecm.toml:2:19: nodes.panic_threshold: 101 is out of bounds, allowed are 0 to 100",
        ),
        (
            "[nodes]\nping_timeout = \"10ms\"\n",
            "ecm.toml:2:16: nodes.ping_timeout: \"10ms\" is out of bounds, allowed are 1s to 1h",
        ),
        (
            "[nodes]\neject_min = \"10m\"\n",
            "ecm.toml:1:1: nodes: eject_min is more than eject_max; it must not be",
        ),
        (
            "[[listener]]\nkind = \"http\"\n",
            "ecm.toml:1:1: listener: missing field `address`",
        ),
        (
            "[[listener]]\naddress = \"localhost:80\"\n",
            "ecm.toml:2:11: listener.address: \"localhost:80\" is not an address to listen \
             on, write IP:PORT, such as \"0.0.0.0:5280\" or \"[::]:5280\"",
        ),
        (
            "[[listener]]\naddress = \"127.0.0.1:80\"\nkind = \"gopher\"\n",
            "ecm.toml:3:8: listener.kind: unknown variant `gopher`, expected one of \
             `http`, `https`, `xmpp`, `xmpps`",
        ),
        (
            "trusted_proxies = [\n  \"10.0.0.0/8\",\n  \"10.0.0.0/33\"\n]\n",
            "ecm.toml:3:3: trusted_proxies: \"10.0.0.0/33\" is not a network, write an IP or \
             IP/BITS, such as \"10.0.0.0/8\" or \"::1\"",
        ),
        (
            "listener = []\n",
            "ecm.toml:1:12: listener: nothing to listen on, write at least one [[listener]]",
        ),
        (
            "[websocket]\npaths = [\"/a\", \"ws\"]\n",
            "ecm.toml:2:9: websocket.paths: \"ws\" is not the path of a URL, write one such as \
             \"/ws\"",
        ),
        (
            "[bosh]\npaths = [\"//\"]\n",
            "ecm.toml:2:9: bosh.paths: \"//\" is not the path of a URL, write one such as \"/ws\"",
        ),
        (
            "[bosh]\npaths = [\"/a/..\"]\n",
            "ecm.toml:2:9: bosh.paths: \"/a/..\" is not the path of a URL, write one such as \"/ws\"",
        ),
        (
            "[host_meta]\nbosh_url = \"wss://a\"\n",
            "ecm.toml:2:12: host_meta.bosh_url: \"wss://a\" is not a URL that begins with https:// or \
             http://",
        ),
        (
            "[host_meta]\nwebsocket_url = \"wss:///ws\"\n",
            "ecm.toml:2:17: host_meta.websocket_url: \"wss:///ws\" is not a URL that begins with \
             wss:// or ws://",
        ),
        (
            "[websocket]\npaths = []\n",
            "ecm.toml:2:9: websocket.paths: write at least one path; to switch it off write enabled = false",
        ),
        (
            "[websocket]\norigins = [\"chat.example.org\"]\n",
            "ecm.toml:2:11: websocket.origins: \"chat.example.org\" is not an origin, write \
             SCHEME://HOST or SCHEME://HOST:PORT, such as \"https://chat.example.org\"",
        ),
        (
            "[log]\nlevel = \"loud\"\n",
            "ecm.toml:2:9: log.level: \"loud\" is not a level, write error, warn, info, \
             debug, trace, or a filter such as \"info,megaphone_ecm::trunk=debug\"",
        ),
    ] {
        assert_eq!(parse(text), Err(expected.to_owned()), "for:\n{text}");
    }
}

fn read(text: &str) -> Reading {
    Reading::of_text(Path::new("ecm.toml"), text.to_owned())
}

fn texts(messages: &[ConfigError]) -> Vec<String> {
    messages.iter().map(ToString::to_string).collect()
}

/// Each row: a file, and the start of each of its errors, in order.
#[test]
fn all_errors_are_found_at_once_and_none_that_only_follows_from_another() {
    for (text, expected) in [
        (
            "threads = -1\ntrunks = 4\n[limits]\nmax_head = \"big\"\nhead_timeout = 3\n[log]\nlevel = \"loud\"\n",
            &[
                "1:11: threads: -1 is out of bounds",
                "2:1: trunks: unknown field",
                "4:12: limits.max_head: \"big\" is not a size",
                "5:16: limits.head_timeout: invalid type",
                "7:9: log.level: \"loud\" is not a level",
            ][..],
        ),
        (
            "trusted_proxies = [\"10.0.0.0/33\", \"::1\", \"x\"]\n[[listener]]\naddress = \"127.0.0.1:1\"\n\
             kind = \"gopher\"\n[[listener]]\nkind = \"http\"\n",
            &[
                "1:20: trusted_proxies: \"10.0.0.0/33\" is not",
                "1:42: trusted_proxies: \"x\" is not",
                "4:8: listener.kind: unknown variant",
                "5:1: listener: missing field `address`",
            ],
        ),
        // The name is missing only because it is wrong, and the certificate only because its key is.
        (
            "[fleet]\nname = \"a-b\"\n[[certificate]]\ncert = \"a\"\nkey = 3\n[[listener]]\n\
             address = \"127.0.0.1:1\"\nkind = \"https\"\n",
            &[
                "2:8: fleet.name: \"a-b\"",
                "5:7: certificate.key: invalid type",
            ],
        ),
        (
            "[trunk]\nbackoff_min = \"20s\"\nprotocol = \"v1\"\n[[listener]]\naddress = \"127.0.0.1:1\"\n\
             kind = \"xmpps\"\n[[listener]]\naddress = \"127.0.0.1:1\"\n",
            &[
                "1:1: trunk: backoff_min is more",
                "6:8: listener.kind: TLS needs a certificate",
                "8:11: listener.address: another [[listener]] has",
            ],
        ),
        (
            "[limits]\nmax_head = \n[log\nlevel = \"info\"\n",
            &["2:12: limits.max_head: ", "3:5: log"],
        ),
    ] {
        let errors = texts(read(text).errors());
        let starts =
            |(error, start): (&String, &&str)| error.starts_with(&format!("ecm.toml:{start}"));
        let as_expected = errors.len() == expected.len() && errors.iter().zip(expected).all(starts);
        assert!(as_expected, "for:\n{text}{errors:#?}");
    }
}

#[test]
fn several_errors_are_one_line_that_says_how_to_see_all() {
    let error = parse("threads = -1\ntrunks = 4\n[log]\nlevel = \"loud\"\n").unwrap_err();
    let end = "; 2 more: `megaphone-ecm check --config ecm.toml` shows all";
    assert!(
        error.starts_with("ecm.toml:1:11: threads: ") && error.ends_with(end),
        "{error}"
    );
}

/// Each row: a file, and the start of each warning.
#[test]
fn what_is_legal_and_unwise_is_said() {
    for (text, expected) in [
        (SAMPLE, &[][..]),
        ("", &[]),
        (
            "[[listener]]\naddress = \"0.0.0.0:80\"\n",
            &["2:11: listener.address: clients send their passwords here without TLS"],
        ),
        (
            "trusted_proxies = [\"10.0.0.1\"]\n[[listener]]\naddress = \"0.0.0.0:80\"\n",
            &[],
        ),
        (
            "[[listener]]\naddress = \"0.0.0.0:80\"\nproxy_protocol = true\n",
            &[],
        ),
        (
            "[[listener]]\naddress = \"0.0.0.0:5222\"\nkind = \"xmpp\"\nstarttls = \"off\"\n",
            &["4:12: listener.starttls: clients send their passwords here without TLS"],
        ),
        (
            "[[certificate]]\ncert = \"a\"\nkey = \"b\"\n[[listener]]\naddress = \"[::]:5222\"\nkind = \"xmpp\"\n\
             starttls = \"optional\"\n",
            &["7:12: listener.starttls: clients may send their passwords"],
        ),
        (
            "[trunk]\naddress = \"xmpp.example.org:5290\"\n",
            &["2:11: trunk.address: the trunk to another machine has no TLS"],
        ),
        (
            "[trunk]\naddress = \"xmpp.example.org:5290\"\n[trunk.tls]\nca = \"ca.pem\"\n",
            &[],
        ),
        (
            "[[node]]\naddress = \"127.0.0.1:5290\"\n[[node]]\naddress = \"srv:_m._tcp.a\"\n",
            &["4:11: node.address: the trunk to another machine has no TLS"],
        ),
        (
            "trusted_proxies = [\"::1\", \"::/0\"]\n",
            &["1:27: trusted_proxies: ::/0 is everybody"],
        ),
        (
            "[metrics]\naddress = \"0.0.0.0:9290\"\n",
            &["2:11: metrics.address: 0.0.0.0:9290 is every"],
        ),
        (
            "[websocket]\ntimeout = \"60s\"\n",
            &["2:11: websocket.timeout: a client that only reads"],
        ),
        (
            "[limits]\nmax_stanza_size = \"1 GiB\"\n",
            &["2:19: limits.max_stanza_size: one stanza"],
        ),
        (
            "[limits]\nmax_client_buffer = \"2 GiB\"\n",
            &["2:21: limits.max_client_buffer: one client"],
        ),
        (
            "[log]\nlevel = \"debug\"\n",
            &["2:9: log.level: \"debug\" writes several lines"],
        ),
    ] {
        let reading = read(text);
        assert_eq!(texts(reading.errors()), Vec::<String>::new(), "{text}");
        let warnings = texts(&reading.warnings());
        let starts =
            |(warning, start): (&String, &&str)| warning.starts_with(&format!("ecm.toml:{start}"));
        let as_expected =
            warnings.len() == expected.len() && warnings.iter().zip(expected).all(starts);
        assert!(as_expected, "for:\n{text}{warnings:#?}");
    }
}

#[test]
fn a_file_that_is_no_toml_is_named_with_its_place() {
    let error = parse("[limits]\nmax_head = \n").unwrap_err();
    assert!(error.starts_with("ecm.toml:2:"), "{error}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = Config::read(Path::new("/nonexistent/ecm.toml")).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("can't read /nonexistent/ecm.toml: "),
        "{error}"
    );
}

#[test]
fn a_file_that_is_read_again_has_to_have_what_the_listeners_need_that_run() {
    let proxied = "[[listener]]\naddress = \"0.0.0.0:80\"\nproxy_protocol = true\n";
    let proxies = "trusted_proxies = [\"10.0.0.1\"]\n";
    let certificate = "[[certificate]]\ncert = \"a.pem\"\nkey = \"a.key\"\n";
    let listener = |rest| format!("[[listener]]\naddress = \"127.0.0.1:1\"\n{rest}");
    let tls = |kind| listener(kind) + certificate;
    for (runs, file, missing) in [
        ("", "", ""),
        ("", &listener(""), ""),
        (&listener(""), "", "no [[listener]]"),
        (&listener(""), "[limits]\n", "no [[listener]]"),
        (&listener(""), &listener(""), ""),
        (&tls("kind = \"https\"\n"), &listener(""), "TLS needs"),
        (&tls("kind = \"xmpps\"\n"), &listener(""), "TLS needs"),
        (&tls("kind = \"xmpp\"\n"), &listener(""), "STARTTLS needs"),
        (&tls("kind = \"xmpp\"\n"), &tls(""), ""),
        (&tls("kind = \"xmpp\"\nrelay = true\n"), &listener(""), ""),
        (
            &tls("kind = \"xmpp\"\nstarttls = \"off\"\n"),
            &listener(""),
            "",
        ),
        (&format!("{proxies}{proxied}"), proxied, "trusted_proxies"),
        (&format!("{proxies}{}", listener("")), &listener(""), ""),
        (proxied, proxied, ""),
    ] {
        let (running, read) = (parse(runs).unwrap(), parse(file).unwrap());
        let checked = running.check_again(&read);
        match missing {
            "" => assert_eq!(checked, Ok(()), "{runs} then {file}"),
            missing => assert!(checked.unwrap_err().contains(missing), "{runs} then {file}"),
        }
    }
}

#[test]
fn what_comes_steadily_has_the_more_time_the_more_there_is() {
    let limits = parse("[limits]\nbody_timeout = \"2s\"\nmin_body_rate = \"100 B\"\n").unwrap();
    let time = |bytes| limits.limits.body_time(bytes);
    assert_eq!(time(0), Duration::from_secs(2));
    assert_eq!(time(50), Duration::from_millis(2_500));
    assert_eq!(time(100_000), Duration::from_secs(1_002));
    assert!(time(u64::MAX) > Duration::from_secs(3_600));
}

//! XML streams (RFC 6120, sections 4 and 5) as sessions.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic)]

mod common;

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use common::authority::{Authority, Pair, TlsClient};
use common::sessions::{Said, Sessions, documents, gone, gone_for_good};
use common::v2::{FIRST, Peer2, Trunk2, source};
use common::{Client, Ecm, refuses_config};
use megaphone_trunk::proxy::{ChannelBindings, Transport};
use megaphone_trunk::v2::{StreamId, Written};
use ring::digest::{SHA256, digest};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{
    ClientConfig, HandshakeKind, ProtocolVersion, RootCertStore, SupportedProtocolVersion, crypto,
};

const PLAIN: &str = "kind = \"xmpp\"\nstarttls = \"off\"\n";
const OPEN: &str =
    "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='a.example' version='1.0'/>";
const CLOSE: &str = "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>";
const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
     xmlns:stream='http://etherx.jabber.org/streams' to='a.example' version='1.0'>";
const END: &str = "</stream:stream>";

/// What ejabberd answers to the start of a stream, and what the client gets of it.
const EJABBERD_OPEN: &str = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' id='7' \
     version='1.0' xml:lang='en' from='a.example'/>";
const SERVER_HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
     xmlns:stream='http://etherx.jabber.org/streams' from='a.example' id='7' version='1.0' \
     xml:lang='en'>";
const STARTTLS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
const PROCEED: &str = "<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
const AUTH: &str =
    "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGEAYg==</auth>";
const SUCCESS: &str = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";
const MECHANISMS: &str = "<mechanisms xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><mechanism>PLAIN\
     </mechanism></mechanisms>";

fn features(inside: &str) -> String {
    format!(
        "<stream:features xmlns:stream='http://etherx.jabber.org/streams'>{inside}\
         </stream:features>"
    )
}

/// As on an XML stream.
fn features_on_stream(inside: &str) -> String {
    format!("<stream:features>{inside}</stream:features>")
}

/// A program with a listener of this kind alone.
fn start(listener: &str, more: &str) -> (Peer2, Ecm, Sessions) {
    let peer = Peer2::start();
    let (ecm, trunk) = start_at(&peer, listener, more);
    (peer, ecm, Sessions::new(trunk))
}

fn start_at(peer: &Peer2, listener: &str, more: &str) -> (Ecm, Trunk2) {
    let config = format!(
        "[log]\nlevel = \"debug\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n{listener}[trunk]\n\
         address = \"{}\"\ntrunks = 1\n{more}",
        peer.address
    );
    let mut ecm = Ecm::start_with_config(&config);
    let trunk = peer.accept();
    ecm.wait_for_log("is up");
    (ecm, trunk)
}

/// A client that has its features.
#[track_caller]
fn open(ecm: &Ecm, sessions: &mut Sessions) -> (Client, u32) {
    let mut client = ecm.client();
    client.send(HEADER);
    let (id, ..) = sessions.opened();
    sessions.send(id, &[EJABBERD_OPEN, &features(MECHANISMS)]);
    client.expect(SERVER_HEADER);
    client.expect(&features_on_stream(MECHANISMS));
    (client, id)
}

/// A client that is logged in.
#[track_caller]
fn log_in(ecm: &Ecm, sessions: &mut Sessions) -> (Client, u32) {
    let (mut client, id) = open(ecm, sessions);
    authenticate(&mut client, sessions, id);
    (client, id)
}

/// Logs in a client that has its features. Its stream begins anew.
#[track_caller]
fn authenticate(client: &mut Client, sessions: &mut Sessions, id: u32) {
    client.send(AUTH);
    assert_eq!(sessions.document(id), AUTH);
    sessions.send(id, &[SUCCESS]);
    client.expect(SUCCESS);
    client.send(HEADER);
    assert_eq!(sessions.document(id), OPEN);
    sessions.send(id, &[EJABBERD_OPEN, &features("<bind/>")]);
    client.expect(SERVER_HEADER);
    client.expect(&features_on_stream("<bind/>"));
}

/// The condition of the error that a stream ends with, after whatever came before.
#[track_caller]
fn condition(answer: &str) -> &str {
    let error = answer.split("<stream:error><").nth(1);
    let error = error.unwrap_or_else(|| panic!("no stream error: {answer}"));
    assert!(
        answer.ends_with("</stream:error></stream:stream>"),
        "{answer}"
    );
    assert!(
        answer.starts_with("<?xml version='1.0'?><stream:stream "),
        "{answer}"
    );
    error.split(' ').next().unwrap()
}

#[test]
fn a_session_from_its_header_to_its_end() {
    let (_peer, ecm, mut sessions) = start(PLAIN, "");
    let mut client = ecm.client();
    client.send(HEADER);
    let (id, header, first) = sessions.opened();
    assert_eq!(first, OPEN);
    assert_eq!(header.alpn.as_deref(), Some(&b"xmpp-framing"[..]));
    assert_eq!(header.transport, Some(Transport::Tcp));
    assert_eq!(header.authority.as_deref(), Some("a.example"));
    assert_eq!(header.tls, None);
    assert_eq!(source(&header), client.stream.local_addr().unwrap());
    sessions.send(id, &[EJABBERD_OPEN, &features(MECHANISMS)]);
    client.expect(SERVER_HEADER);
    client.expect(&features_on_stream(MECHANISMS));
    authenticate(&mut client, &mut sessions, id);
    // Stanzas of any cut, with white space between them, and several at once.
    let message = "<message to='b@a.example'><body>\u{fc} &amp; 1 &lt; 2</body></message>";
    for byte in message.as_bytes() {
        client.stream.write_all(&[*byte]).unwrap();
    }
    client.send(&format!(" \n {message}\n<iq id='1'/> "));
    let with_namespace = message.replacen("<message", "<message xmlns='jabber:client'", 1);
    assert_eq!(sessions.document(id), with_namespace);
    assert_eq!(sessions.document(id), with_namespace);
    assert_eq!(sessions.document(id), "<iq xmlns='jabber:client' id='1'/>");
    sessions.send(
        id,
        &[
            "<presence xmlns='jabber:client' from='x'/>",
            "<r xmlns='urn:xmpp:sm:3'/>",
        ],
    );
    client.expect("<presence from='x'/><r xmlns='urn:xmpp:sm:3'/>");
    client.send(END);
    assert_eq!(sessions.document(id), CLOSE);
    sessions.send(id, &[CLOSE]);
    sessions.trunk.finish(id);
    assert_eq!(client.rest(), END);
    assert_eq!(sessions.next(id), Said::Finished);
}

/// What follows a step of a login may be of another stream: it is not looked at before ejabberd's answer.
#[test]
fn a_stream_may_begin_anew_in_the_packet_that_logs_in() {
    let (_peer, ecm, mut sessions) = start(PLAIN, "");
    let header = HEADER.strip_prefix("<?xml version='1.0'?>").unwrap();
    for (before, after) in [
        (String::new(), format!("{HEADER}<iq id='1'/>")),
        (String::new(), format!("{header}<iq id='1'/>")),
        (" \n".into(), format!("{HEADER}\n<iq id='1'/>")),
        ("<".into(), format!("{}<iq id='1'/>", &HEADER[1..])),
        (HEADER[..9].into(), format!("{}<iq id='1'/>", &HEADER[9..])),
        (header[..9].into(), format!("{}<iq id='1'/>", &header[9..])),
        (HEADER.into(), "<iq id='1'/>".into()),
    ] {
        let (mut client, id) = open(&ecm, &mut sessions);
        client.send(&format!("{AUTH}{before}"));
        assert_eq!(sessions.document(id), AUTH);
        sessions.send(id, &[SUCCESS]);
        client.expect(SUCCESS);
        client.send(&after);
        assert_eq!(sessions.document(id), OPEN, "{before:?}");
        sessions.send(id, &[EJABBERD_OPEN, &features("<bind/>")]);
        client.expect(SERVER_HEADER);
        client.expect(&features_on_stream("<bind/>"));
        assert_eq!(
            sessions.document(id),
            "<iq xmlns='jabber:client' id='1'/>",
            "{before:?}"
        );
        leave(client, &mut sessions, id);
    }
    // All at once, after a first try with a wrong password.
    let (mut client, id) = open(&ecm, &mut sessions);
    let failure = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>";
    client.send(&format!("{AUTH}{AUTH}{HEADER}<iq id='1'/>"));
    assert_eq!(sessions.document(id), AUTH);
    sessions.send(id, &[failure]);
    client.expect(failure);
    assert_eq!(sessions.document(id), AUTH);
    sessions.send(id, &[SUCCESS]);
    client.expect(SUCCESS);
    assert_eq!(sessions.document(id), OPEN);
    assert_eq!(sessions.document(id), "<iq xmlns='jabber:client' id='1'/>");
    leave(client, &mut sessions, id);
    // In steps.
    let (mut client, id) = open(&ecm, &mut sessions);
    let challenge = "<challenge xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>YQ==</challenge>";
    let response = "<response xmlns='urn:ietf:params:xml:ns:xmpp-sasl'>Yg==</response>";
    client.send(&format!("{AUTH}{response}{HEADER}"));
    assert_eq!(sessions.document(id), AUTH);
    sessions.send(id, &[challenge]);
    client.expect(challenge);
    assert_eq!(sessions.document(id), response);
    sessions.send(id, &[SUCCESS]);
    assert_eq!(sessions.document(id), OPEN);
    client.expect(SUCCESS);
}

#[test]
fn a_stream_does_not_begin_anew_without_a_login() {
    let (_peer, ecm, mut sessions) = start(PLAIN, "");
    let (mut client, id) = open(&ecm, &mut sessions);
    client.send(&format!("{AUTH}{HEADER}"));
    assert_eq!(sessions.document(id), AUTH);
    let failure = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><not-authorized/></failure>";
    sessions.send(id, &[failure]);
    client.expect(failure);
    assert!(client.rest().contains("<restricted-xml "));
    assert_eq!(sessions.said_to_the_end(id), gone_for_good());
    // With one, nothing else may begin, and the error is in a stream of its own.
    let (mut client, id) = open(&ecm, &mut sessions);
    client.send(&format!("{AUTH}<iq>"));
    assert_eq!(sessions.document(id), AUTH);
    sessions.send(id, &[SUCCESS]);
    client.expect(SUCCESS);
    assert_eq!(condition(&client.rest()), "invalid-namespace");
    assert_eq!(sessions.said_to_the_end(id), gone_for_good());
    // One that leaves meanwhile, with a word or without.
    let (mut client, id) = open(&ecm, &mut sessions);
    client.send(&format!("{AUTH}{HEADER}"));
    assert_eq!(sessions.document(id), AUTH);
    drop(client);
    let opened = documents(&[OPEN]);
    assert_eq!(sessions.said_to_the_end(id), [opened, gone(&[])].concat());
    let (mut client, id) = open(&ecm, &mut sessions);
    client.send(&format!("{AUTH} "));
    assert_eq!(sessions.document(id), AUTH);
    client.send(END);
    assert_eq!(sessions.document(id), CLOSE);
}

/// The client's connection breaks, and ejabberd hears of it.
#[track_caller]
fn leave(client: Client, sessions: &mut Sessions, id: u32) {
    drop(client);
    assert_eq!(sessions.said_to_the_end(id), gone(&[]));
}

#[test]
fn ejabberd_ends_a_stream_with_an_error_of_its_own() {
    let (_peer, ecm, mut sessions) = start(PLAIN, "");
    let mut client = ecm.client();
    client.send(&HEADER.replace("a.example", "unknown.example"));
    let (id, _, first) = sessions.opened();
    assert_eq!(first, OPEN.replace("a.example", "unknown.example"));
    let error = "<stream:error xmlns:stream='http://etherx.jabber.org/streams'><host-unknown \
                 xmlns='urn:ietf:params:xml:ns:xmpp-streams'/></stream:error>";
    sessions.send(id, &[EJABBERD_OPEN, error, CLOSE]);
    sessions.trunk.finish(id);
    assert_eq!(condition(&client.rest()), "host-unknown");
    assert_eq!(sessions.next(id), Said::Finished);
}

/// Each row: what the client sends after its header was answered, and the error that it gets.
#[test]
fn what_is_wrong_in_a_stream_ends_it_with_the_error_that_says_so() {
    let (_peer, ecm, mut sessions) = start(PLAIN, "[limits]\nmax_stanza_size = \"10 KiB\"\n");
    let long = format!("<message><body>{}</body></message>", "x".repeat(11_000));
    let deep = "<a>".repeat(1000);
    for (input, expected) in [
        ("<message></presence>", "not-well-formed"),
        ("<message a='1' a='2'/>", "not-well-formed"),
        ("<x:message/>", "not-well-formed"),
        ("</other>", "not-well-formed"),
        ("text", "bad-format"),
        ("<message><!-- no --></message>", "restricted-xml"),
        ("<?php no ?>", "restricted-xml"),
        ("<!DOCTYPE a>", "restricted-xml"),
        ("<message>&lol;</message>", "restricted-xml"),
        (&long, "policy-violation"),
        (&deep, "policy-violation"),
    ] {
        let (mut client, id) = open(&ecm, &mut sessions);
        client.send(input);
        let rest = format!("{SERVER_HEADER}{}", client.rest());
        assert_eq!(condition(&rest), expected, "{input}");
        // Nothing of it went on to ejabberd, and the session ended in order.
        assert_eq!(sessions.said_to_the_end(id), gone_for_good(), "{input}");
    }
    let (mut client, id) = open(&ecm, &mut sessions);
    client.stream.write_all(b"<message>\xff</message>").unwrap();
    let rest = format!("{SERVER_HEADER}{}", client.rest());
    assert_eq!(condition(&rest), "not-well-formed");
    assert_eq!(sessions.said_to_the_end(id), gone_for_good());
}

#[test]
fn who_has_not_logged_in_may_send_less() {
    let (_peer, ecm, mut sessions) = start(PLAIN, "");
    let body = "x".repeat(70_000);
    let stanza = format!("<message><body>{body}</body></message>");
    // Nor has one who got what is named as if it had.
    for named in [
        "<other/>",
        "<success xmlns='urn:other'/>",
        "<success xmlns='urn:xmpp:sasl:3'/>",
        "<message xmlns='urn:other'/>",
        "<presence xmlns='urn:other'/>",
        "<iq xmlns='jabber:server'/>",
        // Anybody gets one.
        "<iq xmlns='jabber:client' type='error'/>",
    ] {
        let (mut client, id) = open(&ecm, &mut sessions);
        sessions.send(id, &[named]);
        client.until("/>");
        client.send(&stanza);
        let rest = format!("{SERVER_HEADER}{}", client.rest());
        assert_eq!(condition(&rest), "policy-violation", "{named}");
        assert_eq!(sessions.said_to_the_end(id), gone_for_good(), "{named}");
    }
    // By SASL, and by SASL2, after which no stream begins.
    let (mut client, id) = log_in(&ecm, &mut sessions);
    client.send(&stanza);
    assert!(sessions.document(id).contains(&body));
    let (mut client, id) = open(&ecm, &mut sessions);
    sessions.send(id, &["<success xmlns='urn:xmpp:sasl:2'/>"]);
    client.expect("<success xmlns='urn:xmpp:sasl:2'/>");
    client.send(&stanza);
    assert!(sessions.document(id).contains(&body));
}

/// Each row: what comes in place of a header, and the error.
#[test]
fn what_is_wrong_in_a_header_is_nothing_to_ejabberd() {
    let (_peer, ecm, mut sessions) = start(PLAIN, "");
    let stream = "xmlns:stream='http://etherx.jabber.org/streams'";
    let billion = "<?xml version='1.0'?><!DOCTYPE lolz [<!ENTITY lol 'lol'>]><stream:stream>";
    for (input, expected) in [
        ("GET / HTTP/1.1\r\n\r\n", "not-well-formed"),
        ("\u{16}\u{3}\u{1}", "not-well-formed"),
        (
            "<stream:stream xmlns:stream='urn:other' xmlns='jabber:client'>",
            "invalid-namespace",
        ),
        (
            &format!("<stream:stream {stream} xmlns='jabber:server'>"),
            "invalid-namespace",
        ),
        (
            &format!("<stream:other {stream} xmlns='jabber:client'>"),
            "bad-format",
        ),
        ("<stream xmlns='jabber:client'>", "bad-namespace-prefix"),
        ("<stream:stream xmlns='jabber:client'>", "not-well-formed"),
        (
            "<?xml version='1.0' encoding='latin1'?><a>",
            "unsupported-encoding",
        ),
        (billion, "restricted-xml"),
        (
            &format!("<stream:stream {stream} a='{}'>", "x".repeat(5000)),
            "policy-violation",
        ),
    ] {
        let mut client = ecm.client();
        client.send(input);
        assert_eq!(condition(&client.rest()), expected, "{input:?}");
    }
    let (_client, id) = open(&ecm, &mut sessions);
    assert_eq!(id, FIRST, "a session was opened for a header that is none");
}

#[test]
fn required_starttls_comes_before_anything_else() {
    let authority = Authority::new();
    let pair = authority.sign("a.example");
    let (_peer, ecm, mut sessions) = start("kind = \"xmpp\"\n", &pair.table());
    let required = features_on_stream(
        "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>",
    );
    for (version, name) in [(&TLS12, "TLSv1.2"), (&TLS13, "TLSv1.3")] {
        let mut client = ecm.client();
        client.send(HEADER);
        expect_own_header(&mut client, " from='a.example'");
        client.expect(&required);
        client.send(STARTTLS);
        client.expect(PROCEED);
        let config = Arc::new(authority.client(version, &[]));
        let mut client = TlsClient::over(client.stream, &config, "a.example").unwrap();
        client.send(HEADER);
        let (id, header, first) = sessions.opened();
        assert_eq!(first, OPEN);
        assert_eq!(header.transport, Some(Transport::Tls));
        assert_eq!(header.tls.unwrap().version.as_deref(), Some(name));
        // What ejabberd offers of STARTTLS is not for a client that has TLS.
        let offered = format!("{STARTTLS}{MECHANISMS}");
        sessions.send(id, &[EJABBERD_OPEN, &features(&offered)]);
        client.expect(SERVER_HEADER);
        client.expect(&features_on_stream(MECHANISMS));
        client.send(AUTH);
        assert_eq!(sessions.document(id), AUTH);
        client.send(END);
        assert_eq!(sessions.document(id), CLOSE);
        sessions.send(id, &[CLOSE]);
        sessions.trunk.finish(id);
        assert_eq!(client.rest(), END);
        assert_eq!(sessions.next(id), Said::Finished);
    }
    for (input, expected) in [
        ("<message/>", "policy-violation"),
        ("<message", ""),
        (&format!("{STARTTLS}{AUTH}"), "policy-violation"),
        ("text", "bad-format"),
    ] {
        let mut client = ecm.client();
        client.send(HEADER);
        expect_own_header(&mut client, " from='a.example'");
        client.expect(&required);
        client.send(input);
        client.stream.shutdown(Shutdown::Write).unwrap();
        let rest = client.rest();
        match expected {
            "" => assert_eq!(rest, ""),
            expected => {
                let rest = format!("<?xml version='1.0'?><stream:stream >{rest}");
                assert_eq!(condition(&rest), expected, "{input}");
            }
        }
    }
    let mut early = ecm.client();
    early.send(HEADER);
    expect_own_header(&mut early, " from='a.example'");
    early.expect(&required);
    for (login, refusal) in [
        (
            AUTH,
            "<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'><encryption-required/></failure>",
        ),
        (
            "<authenticate xmlns='urn:xmpp:sasl:2' mechanism='PLAIN'/>",
            "<failure xmlns='urn:xmpp:sasl:2'>\
             <encryption-required xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/></failure>",
        ),
    ] {
        early.send(login);
        early.expect(refusal);
    }
    early.send(STARTTLS);
    early.expect(PROCEED);
    let mut old = ecm.client();
    old.send(&HEADER.replace(" version='1.0'>", ">"));
    assert_eq!(condition(&old.rest()), "unsupported-version");
    let mut polite = ecm.client();
    polite.send(&format!("{HEADER}{END}"));
    expect_own_header(&mut polite, " from='a.example'");
    assert_eq!(polite.rest(), format!("{required}{END}"));
}

/// A header that no session answered, with an id of its own.
#[track_caller]
fn expect_own_header(client: &mut Client, from: &str) {
    client.expect(&format!(
        "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
         xmlns:stream='http://etherx.jabber.org/streams'{from} id='"
    ));
    let mut id = [0; 16];
    client.stream.read_exact(&mut id).unwrap();
    assert!(id.iter().all(u8::is_ascii_hexdigit), "{id:?}");
    client.expect("' version='1.0' xml:lang='en'>");
}

#[test]
fn optional_starttls_is_one_of_ejabberds_features() {
    let authority = Authority::new();
    let pair = authority.sign("a.example");
    let listener = "kind = \"xmpp\"\nstarttls = \"optional\"\n";
    let (_peer, ecm, mut sessions) = start(listener, &pair.table());
    let mut client = ecm.client();
    client.send(HEADER);
    let (plain, header, _) = sessions.opened();
    assert_eq!(header.transport, Some(Transport::Tcp));
    sessions.send(plain, &[EJABBERD_OPEN, &features(MECHANISMS)]);
    client.expect(SERVER_HEADER);
    client.expect(&features_on_stream(&format!("{STARTTLS}{MECHANISMS}")));
    client.send(STARTTLS);
    client.expect(PROCEED);
    assert_eq!(sessions.next(plain), Said::Finished);
    sessions.trunk.finish(plain);
    let config = Arc::new(authority.client(&TLS13, &[]));
    let mut client = TlsClient::over(client.stream, &config, "a.example").unwrap();
    client.send(HEADER);
    let (id, header, _) = sessions.opened();
    assert_eq!(header.transport, Some(Transport::Tls));
    sessions.send(id, &[EJABBERD_OPEN, &features(MECHANISMS)]);
    client.expect(SERVER_HEADER);
    client.expect(&features_on_stream(MECHANISMS));
    // Once is enough.
    client.send(STARTTLS);
    let failure = "<failure xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
    assert_eq!(client.rest(), format!("{failure}{END}"));
    assert_eq!(sessions.said_to_the_end(id), gone_for_good());
    // Who does without logs in as ever, and is offered nothing after it.
    let mut plain = ecm.client();
    plain.send(HEADER);
    let (id, ..) = sessions.opened();
    sessions.send(id, &[EJABBERD_OPEN, &features(MECHANISMS)]);
    plain.expect(SERVER_HEADER);
    plain.expect(&features_on_stream(&format!("{STARTTLS}{MECHANISMS}")));
    authenticate(&mut plain, &mut sessions, id);
    plain.send(STARTTLS);
    assert_eq!(plain.rest(), format!("{failure}{END}"));
}

#[test]
fn a_handshake_that_fails_after_proceed_is_nothing_to_ejabberd() {
    let authority = Authority::new();
    let pair = authority.sign("a.example");
    let more = format!("{}[limits]\nhandshake_timeout = \"200ms\"\n", pair.table());
    let (_peer, mut ecm, mut sessions) = start("kind = \"xmpp\"\n", &more);
    for (input, logged) in [
        (
            &b"<stream:stream"[..],
            "a TLS handshake failed: received corrupt message",
        ),
        (
            &[22, 3, 1, 2, 0, 1],
            "it took longer than handshake_timeout",
        ),
    ] {
        let mut client = ecm.client();
        client.send(HEADER);
        client.send(STARTTLS);
        expect_own_header(&mut client, " from='a.example'");
        client.expect(&features_on_stream(
            "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>",
        ));
        client.expect(PROCEED);
        client.stream.write_all(input).unwrap();
        let _ = client.drain();
        ecm.wait_for_log(logged);
    }
    let session = sessions.trunk.next_within(Duration::from_millis(1));
    assert_eq!(session, None);
}

#[test]
fn direct_tls_needs_no_starttls() {
    let authority = Authority::new();
    let pair = authority.sign("a.example");
    let (_peer, ecm, mut sessions) = start("kind = \"xmpps\"\n", &pair.table());
    for alpn in [&["xmpp-client"][..], &[]] {
        let config = Arc::new(authority.client(&TLS13, alpn));
        let mut client = TlsClient::connect(ecm.address, &config, "a.example").unwrap();
        let agreed = alpn.first().map(|name| name.as_bytes());
        assert_eq!(client.0.conn.alpn_protocol(), agreed);
        client.send(HEADER);
        let (id, header, _) = sessions.opened();
        assert_eq!(header.transport, Some(Transport::Tls));
        sessions.send(id, &[EJABBERD_OPEN, &features(MECHANISMS)]);
        client.expect(SERVER_HEADER);
        client.expect(&features_on_stream(MECHANISMS));
        client.0.sock.shutdown(Shutdown::Both).unwrap();
        assert_eq!(sessions.said_to_the_end(id), gone(&[]));
    }
    let config = Arc::new(authority.client(&TLS13, &["http/1.1"]));
    assert!(TlsClient::connect(ecm.address, &config, "a.example").is_err());
}

#[test]
fn a_client_whose_tls_ended_at_a_proxy_is_offered_none() {
    let authority = Authority::new();
    let pair = authority.sign("a.example");
    let listener = "kind = \"xmpp\"\nproxy_protocol = true\n";
    let (_peer, ecm, mut sessions) = start(listener, &pair.table());
    let mut header = Vec::new();
    let proxied = megaphone_trunk::proxy::Header {
        addresses: megaphone_trunk::proxy::Addresses::Inet {
            source: "192.0.2.7:4711".parse().unwrap(),
            destination: "198.51.100.1:5223".parse().unwrap(),
        },
        tls: Some(megaphone_trunk::proxy::Tls {
            version: Some("TLSv1.3".to_owned()),
            verified: true,
            certificate: Some(Bytes::from_static(b"whatever")),
            ..Default::default()
        }),
        ..Default::default()
    };
    megaphone_trunk::proxy::write(&proxied, &mut header);
    let mut client = ecm.client();
    client.stream.write_all(&header).unwrap();
    client.send(HEADER);
    let (_, header, _) = sessions.opened();
    assert_eq!(source(&header), "192.0.2.7:4711".parse().unwrap());
    assert_eq!(header.transport, Some(Transport::Tls));
    // What it has with the proxy is unknown here, and nobody else's word is taken for who it is.
    assert_eq!(header.tls.unwrap().certificate, None);
    assert_eq!(header.bindings, ChannelBindings::default());
}

/// What the client knows of its connection is what ejabberd is told. `tls-unique`, of TLS 1.2, it doesn't say.
fn bindings(client: &TlsClient, told: &ChannelBindings) -> ChannelBindings {
    let exported =
        client
            .0
            .conn
            .export_keying_material([0; 32], b"EXPORTER-Channel-Binding", Some(b""));
    let is_13 = client.0.conn.protocol_version() == Some(ProtocolVersion::TLSv1_3);
    let hash = digest(&SHA256, &client.certificate());
    ChannelBindings {
        exporter: Some(exported.unwrap()),
        end_point: Some(Bytes::copy_from_slice(hash.as_ref())),
        unique: told.unique.filter(|_| !is_13),
    }
}

#[test]
fn a_login_can_be_bound_to_the_clients_tls_and_the_certificate_that_it_was_shown() {
    let authority = Authority::new();
    let pairs = ["a.example", "b.example"].map(|name| authority.sign(name).table());
    for kind in ["xmpp", "xmpps"] {
        let listener = format!("kind = \"{kind}\"\n");
        let (_peer, ecm, mut sessions) = start(&listener, &pairs.concat());
        for (version, name) in [
            (&TLS12, "a.example"),
            (&TLS13, "a.example"),
            (&TLS12, "b.example"),
            (&TLS13, "b.example"),
        ] {
            // The second time it comes back with a ticket, and is shown nothing.
            let config = Arc::new(authority.client(version, &[]));
            for handshake in [HandshakeKind::Full, HandshakeKind::Resumed] {
                let mut client = connect(&ecm, kind, &config, name);
                client.send(HEADER);
                let (id, header, _) = sessions.opened();
                assert_eq!(client.0.conn.handshake_kind(), Some(handshake));
                assert_eq!(
                    header.bindings,
                    bindings(&client, &header.bindings),
                    "{kind} {name}"
                );
                assert_eq!(
                    header.bindings.unique.is_some(),
                    version.version == ProtocolVersion::TLSv1_2
                );
                // The ticket comes with the first bytes.
                sessions.send(id, &[EJABBERD_OPEN]);
                client.expect(SERVER_HEADER);
                drop(client);
                assert_eq!(sessions.said_to_the_end(id), gone(&[]));
            }
        }
    }
}

/// One that shows a certificate, too.
fn with_certificate(
    authority: &Authority,
    version: &'static SupportedProtocolVersion,
    pair: &Pair,
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.issuer.der().clone()).unwrap();
    let chain = CertificateDer::pem_file_iter(&pair.cert).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(
            chain.map(Result::unwrap).collect(),
            PrivateKeyDer::from_pem_file(&pair.key).unwrap(),
        )
        .unwrap();
    Arc::new(config)
}

/// Opens a session, and gives what ejabberd is told of the client's certificate.
#[track_caller]
fn told(
    ecm: &Ecm,
    sessions: &mut Sessions,
    kind: &str,
    config: &Arc<ClientConfig>,
) -> Option<Bytes> {
    let mut client = connect(ecm, kind, config, "a.example");
    client.send(HEADER);
    let (id, header, _) = sessions.opened();
    // A ticket comes with the first bytes.
    sessions.send(id, &[EJABBERD_OPEN]);
    client.expect(SERVER_HEADER);
    drop(client);
    assert_eq!(sessions.said_to_the_end(id), gone(&[]));
    let tls = header.tls.unwrap();
    assert_eq!(tls.verified, tls.certificate.is_some());
    tls.certificate
}

#[test]
fn a_clients_certificate_is_handed_on_if_it_is_asked_for_and_good() {
    let (authority, strangers) = (Authority::new(), Authority::new());
    let pair = authority.sign("a.example");
    let good = authority.sign("alice");
    let expired = authority.sign_until("alice", 2001);
    let strange = strangers.sign("alice");
    let der = CertificateDer::from_pem_file(&good.cert).unwrap();
    let tables = format!("[xmpp]\nclient_ca = {:?}\n{}", authority.ca(), pair.table());
    for kind in ["xmpp", "xmpps"] {
        let asks = format!("kind = \"{kind}\"\nclient_certificates = \"request\"\n");
        let (_peer, ecm, mut sessions) = start(&asks, &tables);
        for version in [&TLS12, &TLS13] {
            let config = with_certificate(&authority, version, &good);
            // Also of a client that comes back with a ticket.
            for _ in 0..2 {
                let told = told(&ecm, &mut sessions, kind, &config);
                assert_eq!(told.as_deref(), Some(der.as_ref()));
            }
            for other in [&expired, &strange] {
                let config = with_certificate(&authority, version, other);
                assert_eq!(told(&ecm, &mut sessions, kind, &config), None);
            }
            let none = Arc::new(authority.client(version, &[]));
            assert_eq!(told(&ecm, &mut sessions, kind, &none), None);
        }
        drop(ecm);
        let (_peer, ecm, mut sessions) = start(&format!("kind = \"{kind}\"\n"), &tables);
        let config = with_certificate(&authority, &TLS13, &good);
        assert_eq!(told(&ecm, &mut sessions, kind, &config), None);
    }
}

#[test]
fn a_reload_says_anew_whose_certificates_are_good() {
    let (authority, others) = (Authority::new(), Authority::new());
    let pair = authority.sign("a.example");
    let tables = format!("[xmpp]\nclient_ca = {:?}\n{}", authority.ca(), pair.table());
    let listener = "kind = \"xmpps\"\nclient_certificates = \"request\"\n";
    let (_peer, mut ecm, mut sessions) = start(listener, &tables);
    let config = with_certificate(&authority, &TLS13, &authority.sign("alice"));
    assert!(told(&ecm, &mut sessions, "xmpps", &config).is_some());
    std::fs::write(authority.ca(), "no PEM").unwrap();
    ecm.signal("HUP");
    let line = ecm.wait_for_log("the configuration is not reloaded");
    assert!(
        line.contains("xmpp.client_ca: no certificate in "),
        "{line}"
    );
    std::fs::copy(others.ca(), authority.ca()).unwrap();
    ecm.signal("HUP");
    ecm.wait_for_log("configuration reloaded from");
    // It comes back with a ticket, and that it was good then counts for nothing.
    assert_eq!(told(&ecm, &mut sessions, "xmpps", &config), None);
}

#[test]
fn who_is_asked_for_a_certificate_where_it_can_be_verified() {
    let authority = Authority::new();
    let pair = authority.sign("a.example").table();
    let ca = format!("[xmpp]\nclient_ca = {:?}\n", authority.ca());
    let misplaced =
        "client_certificates is for the kinds \"xmpp\" and \"xmpps\" whose TLS ends here";
    for (listener, tables, expected) in [
        (
            "kind = \"xmpps\"",
            &pair,
            "\"request\" needs xmpp.client_ca",
        ),
        ("kind = \"https\"", &format!("{ca}{pair}"), misplaced),
        (
            "kind = \"xmpps\"\nrelay = true",
            &format!("{ca}{pair}"),
            misplaced,
        ),
        (
            "kind = \"xmpp\"\nstarttls = \"off\"",
            &format!("{ca}{pair}"),
            misplaced,
        ),
    ] {
        let config = format!(
            "[[listener]]\naddress = \"127.0.0.1:0\"\n{listener}\nclient_certificates = \"request\"\n{tables}"
        );
        refuses_config(&config, expected);
    }
}

/// A client that came to a listener of this kind and has TLS.
#[track_caller]
fn connect(ecm: &Ecm, kind: &str, config: &Arc<ClientConfig>, name: &str) -> TlsClient {
    if kind == "xmpps" {
        return TlsClient::connect(ecm.address, config, name).unwrap();
    }
    let mut client = ecm.client();
    client.send(HEADER);
    client.until("</stream:features>");
    client.send(STARTTLS);
    client.expect(PROCEED);
    TlsClient::over(client.stream, config, name).unwrap()
}

#[test]
fn what_a_client_has_a_ticket_for_is_the_certificate_that_is_shown_now() {
    let authority = Authority::new();
    let pair = authority.sign("a.example");
    let (_peer, mut ecm, mut sessions) = start("kind = \"xmpps\"\n", &pair.table());
    let config = Arc::new(authority.client(&TLS13, &[]));
    let mut shown = Vec::new();
    for renew in [false, true] {
        if renew {
            authority.sign("a.example");
            ecm.signal("HUP");
            ecm.wait_for_log("configuration reloaded from");
        }
        let mut client = connect(&ecm, "xmpps", &config, "a.example");
        client.send(HEADER);
        let (id, header, _) = sessions.opened();
        assert_eq!(header.bindings, bindings(&client, &header.bindings));
        sessions.send(id, &[EJABBERD_OPEN]);
        client.expect(SERVER_HEADER);
        drop(client);
        assert_eq!(sessions.said_to_the_end(id), gone(&[]));
        shown.push(header.bindings.end_point);
    }
    assert_ne!(shown[0], shown[1]);
}

#[test]
fn who_vanishes_may_resume_and_who_says_goodbye_may_not() {
    let (_peer, ecm, mut sessions) = start(PLAIN, "");
    let (client, id) = log_in(&ecm, &mut sessions);
    drop(client);
    assert_eq!(sessions.said_to_the_end(id), gone(&[]));
    // In the middle of a stanza.
    let (mut client, id) = log_in(&ecm, &mut sessions);
    client.send("<message><body>ha");
    drop(client);
    assert_eq!(sessions.said_to_the_end(id), gone(&[]));
    let (mut client, id) = log_in(&ecm, &mut sessions);
    client.send(END);
    assert_eq!(sessions.document(id), CLOSE);
    drop(client);
    sessions.send(id, &[CLOSE]);
    sessions.trunk.finish(id);
    assert_eq!(sessions.next(id), Said::Finished);
}

#[test]
fn a_session_that_ends_without_a_word_is_no_stream_that_was_closed() {
    let (_peer, ecm, mut sessions) = start(PLAIN, "");
    let (mut client, id) = log_in(&ecm, &mut sessions);
    sessions.trunk.finish(id);
    let rest = format!("{SERVER_HEADER}{}", client.rest());
    assert_eq!(condition(&rest), "remote-connection-failed");
}

#[test]
fn without_ejabberd_there_is_a_stream_error_at_once() {
    let peer = Peer2::start();
    let (ecm, trunk) = start_at(&peer, PLAIN, "");
    let mut sessions = Sessions::new(trunk);
    let (mut cut, _) = log_in(&ecm, &mut sessions);
    let (mut reset, id) = log_in(&ecm, &mut sessions);
    sessions.trunk.reset(id);
    for (client, why) in [(&mut reset, "reset"), (&mut cut, "cut")] {
        if why == "cut" {
            sessions.trunk.transport.close();
        }
        let rest = format!("{SERVER_HEADER}{}", client.rest());
        assert_eq!(condition(&rest), "remote-connection-failed", "{why}");
    }
    drop(peer);
    let config = format!(
        "[log]\nlevel = \"debug\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n{PLAIN}[trunk]\n\
         address = \"127.0.0.1:1\"\n"
    );
    let mut lonely = Ecm::start_with_config(&config);
    lonely.wait_for_log("no trunk to");
    let mut client = lonely.client();
    client.send(HEADER);
    assert_eq!(condition(&client.rest()), "remote-connection-failed");
}

#[test]
fn sigterm_is_a_system_shutdown() {
    let (_peer, mut ecm, mut sessions) = start(PLAIN, "");
    let (mut client, id) = log_in(&ecm, &mut sessions);
    let mut silent = ecm.client();
    let mut half = ecm.client();
    half.send("<?xml version='1.0'?><stream:str");
    // They are there once a third one is served.
    let (third, last) = open(&ecm, &mut sessions);
    drop(third);
    ecm.signal("TERM");
    let rest = format!("{SERVER_HEADER}{}", client.rest());
    assert_eq!(condition(&rest), "system-shutdown");
    // Who has stream management comes back somewhere else. What it sent before it knew counts.
    client.send("<message/></stream:stream>");
    drop(client);
    let message = documents(&["<message xmlns='jabber:client'/>"]);
    assert_eq!(sessions.said_to_the_end(id), [message, gone(&[])].concat());
    assert_eq!(sessions.said_to_the_end(last), gone(&[]));
    for client in [&mut silent, &mut half] {
        let rest = client.rest();
        if !rest.is_empty() {
            assert_eq!(condition(&rest), "system-shutdown");
        }
    }
    let status = ecm.wait_for_exit();
    assert!(status.success(), "{status}");
}

#[test]
fn who_takes_too_long_is_told_so() {
    let limits = "[limits]\nhead_timeout = \"100ms\"\nauth_timeout = \"200ms\"\n\
                  body_timeout = \"100ms\"\n[xmpp]\nidle_timeout = \"300ms\"\n";
    let (_peer, ecm, mut sessions) = start(PLAIN, limits);
    for input in ["", "<?xml version='1.0'?><stream:str"] {
        let mut client = ecm.client();
        client.send(input);
        let rest = client.rest();
        assert_eq!(condition(&rest), "connection-timeout", "{input}");
        assert!(rest.contains("no stream was opened in time"), "{rest}");
    }
    let (mut client, id) = open(&ecm, &mut sessions);
    let rest = format!("{SERVER_HEADER}{}", client.rest());
    assert_eq!(condition(&rest), "connection-timeout");
    assert!(rest.contains("the login took too long"), "{rest}");
    assert_eq!(sessions.said_to_the_end(id), gone_for_good());
    let message = documents(&["<message xmlns='jabber:client'/>"]);
    for (input, text, said) in [
        (
            "<message/><message><body>",
            "a stanza took too long to arrive",
            [message.clone(), gone_for_good()].concat(),
        ),
        (
            "<message/>",
            "nothing was sent for too long",
            [message, gone(&[])].concat(),
        ),
    ] {
        let (mut client, id) = log_in(&ecm, &mut sessions);
        client.send(input);
        let rest = format!("{SERVER_HEADER}{}", client.rest());
        assert_eq!(condition(&rest), "connection-timeout", "{input}");
        assert!(rest.contains(text), "{rest}");
        assert_eq!(sessions.said_to_the_end(id), said, "{input}");
    }
}

/// As who creates an account does, or logs in as in XEP-0078: ejabberd has a deadline of its own for that.
#[test]
fn who_gets_an_iq_before_the_login_may_take_its_time_and_log_in() {
    let (_peer, ecm, mut sessions) = start(PLAIN, "[limits]\nauth_timeout = \"300ms\"\n");
    let (mut stranger, _) = open(&ecm, &mut sessions);
    let (mut client, id) = open(&ecm, &mut sessions);
    sessions.send(id, &["<iq xmlns='jabber:client' type='result' id='1'/>"]);
    client.until("/>");
    // This one began before it.
    stranger.rest();
    client.send("<iq id='2'/>");
    assert_eq!(sessions.document(id), "<iq xmlns='jabber:client' id='2'/>");
    client.send(AUTH);
    assert!(sessions.document(id).starts_with("<auth "));
    sessions.send(id, &["<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"]);
    client.until("/>");
    client.send(HEADER);
    assert!(sessions.document(id).starts_with("<open "));
}

#[test]
fn white_space_keeps_a_connection_open() {
    let (_peer, ecm, mut sessions) = start(PLAIN, "[xmpp]\nwhitespace_interval = \"20ms\"\n");
    let (mut client, id) = log_in(&ecm, &mut sessions);
    client.expect("   ");
    sessions.send(id, &["<iq xmlns='jabber:client' id='1'/>"]);
    let mut got = String::new();
    while !got.contains("/>") {
        let mut byte = [0];
        client.stream.read_exact(&mut byte).unwrap();
        got.push(char::from(byte[0]));
    }
    assert_eq!(got.trim(), "<iq id='1'/>");
    client.send(" ");
    client.send("<iq id='2'/>");
    assert_eq!(sessions.document(id), "<iq xmlns='jabber:client' id='2'/>");
}

#[test]
fn a_client_waits_for_an_ejabberd_that_is_busy() {
    let (_peer, ecm, mut sessions) = start(PLAIN, "");
    let (client, id) = log_in(&ecm, &mut sessions);
    sessions.trunk.consumes = false;
    let count = 300;
    let body = "x".repeat(10_000);
    let mut sender = client.stream.try_clone().unwrap();
    let text = body.clone();
    let talker = std::thread::spawn(move || {
        for number in 0..count {
            let stanza = format!("<message id='{number}'><body>{text}</body></message>");
            sender.write_all(stanza.as_bytes()).unwrap();
        }
    });
    // No more than a window comes.
    let mut got = 0;
    while sessions
        .trunk
        .next_within(Duration::from_millis(300))
        .is_some_and(|seen| {
            if let common::v2::Seen::Data(_, bytes) = &seen {
                got += bytes.len();
                sessions.unread(id, bytes);
            }
            true
        })
    {}
    assert!((200_000..=256 * 1024).contains(&got), "{got}");
    sessions.trunk.consumes = true;
    let _ = sessions.trunk.session.consumed(StreamId::new(id), got);
    for number in 0..count {
        assert_eq!(
            sessions.document(id),
            format!("<message xmlns='jabber:client' id='{number}'><body>{body}</body></message>")
        );
    }
    talker.join().unwrap();
}

#[test]
fn a_client_that_reads_nothing_is_closed_and_may_resume() {
    let (_peer, mut ecm, mut sessions) = start(PLAIN, "[limits]\nsend_timeout = \"300ms\"\n");
    let (mut client, id) = log_in(&ecm, &mut sessions);
    let stanza = format!(
        "<message xmlns='jabber:client'><body>{}</body></message>",
        "x".repeat(15_000)
    );
    let mut message = Vec::new();
    megaphone_xmpp::framing::put_message(&mut message, stanza.as_bytes()).unwrap();
    loop {
        match sessions.trunk.session.write(StreamId::new(id), &message) {
            Ok(Written::Taken) => sessions.trunk.flush(),
            Ok(Written::Refused) => {
                if sessions
                    .trunk
                    .next_within(Duration::from_millis(5))
                    .is_some()
                {
                    break;
                }
            }
            Err(_reset) => break,
        }
    }
    ecm.wait_for_log("a deadline passed: Output");
    let (_, end) = client.drain();
    assert_eq!(end.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
}

/// Twenty stanzas of so many bytes and more, and the documents that they are.
fn twenty(size: usize) -> (Vec<String>, Vec<String>) {
    let body = "x".repeat(size);
    let stanza = |n| format!("<message id='{n}'>{body}</message>");
    let document = |n| format!("<message xmlns='jabber:client' id='{n}'>{body}</message>");
    (
        (1..=20).map(stanza).collect(),
        (1..=20).map(document).collect(),
    )
}

/// The documents of the client's alone.
fn only_documents(said: Vec<Said>) -> Vec<String> {
    let documents = said.into_iter().filter_map(|said| match said {
        Said::Document(document) => Some(document),
        _ => None,
    });
    documents.collect()
}

/// What a stream's window has room for.
const WINDOW: usize = 256 * 1024;

/// A trunk on which nothing happens for so long has a client that takes nothing.
const STUCK: Duration = Duration::from_millis(300);

/// Sends documents, of which `sent` were sent before, to a client that takes none, until no more are taken; how many
/// that were.
fn fill(sessions: &mut Sessions, id: u32, sent: usize) -> usize {
    let body = "x".repeat(15_000);
    for number in sent..sent + 2_000 {
        let document = format!("<message xmlns='jabber:client' n='{number}'>{body}</message>");
        let mut message = Vec::new();
        megaphone_xmpp::framing::put_message(&mut message, document.as_bytes()).unwrap();
        loop {
            match sessions.trunk.session.write(StreamId::new(id), &message) {
                Ok(Written::Taken) => {
                    sessions.trunk.flush();
                    break;
                }
                Ok(Written::Refused) => {
                    let before = Instant::now();
                    sessions.trunk.read(STUCK);
                    if before.elapsed() >= STUCK {
                        return number;
                    }
                }
                Err(error) => panic!("the session ends: {error}"),
            }
        }
    }
    panic!("ejabberd may say more than there is room for");
}

#[test]
fn what_a_client_sent_counts_whatever_becomes_of_its_output() {
    let (_peer, ecm, mut sessions) = start(PLAIN, "");
    let (mut client, id) = log_in(&ecm, &mut sessions);
    let sent = fill(&mut sessions, id, 0);
    let (stanzas, documents) = twenty(10);
    client.send(&stanzas.concat());
    // What it has not read makes its end a reset: it can be read still, but not written.
    drop(client);
    let said = sessions.said_to_the_end(id);
    expect_given_back(&said, sent);
    assert!(
        said[documents.len()..]
            .iter()
            .all(|said| matches!(said, Said::GivenBack(_)))
    );
    assert_eq!(only_documents(said), documents);
}

/// What its socket did not take has come back, to the last one of so many that ejabberd had sent.
#[track_caller]
fn expect_given_back(said: &[Said], sent: usize) {
    let back: Vec<_> = said
        .iter()
        .filter_map(|said| match said {
            Said::GivenBack(document) if !document.is_empty() => Some(document),
            _ => None,
        })
        .collect();
    assert!(
        !back.is_empty() && back.len() < sent,
        "{} of {sent}",
        back.len()
    );
    for (document, number) in back.iter().zip(sent - back.len()..) {
        let start = format!("<message xmlns='jabber:client' n='{number}'>");
        assert!(
            document.starts_with(&start),
            "{start}, got {:.50}; {} of {sent} came back",
            document.as_str(),
            back.len()
        );
    }
}

#[test]
fn a_client_that_leaves_with_both_windows_full_loses_nothing() {
    let (_peer, mut ecm, mut sessions) = start(PLAIN, "");
    let (mut client, id) = log_in(&ecm, &mut sessions);
    sessions.trunk.consumes = false;
    // More than a window, so that some of it stays in the program and in its socket; and no more than these take, as
    // the client's end throws away what has not left its own socket.
    let (stanzas, documents) = twenty(15_000);
    client.send(&stanzas.concat());
    let sent = fill(&mut sessions, id, 0);
    drop(client);
    ecm.wait_for_log("can't write to a client any more");
    // It is still to be read, and until then ejabberd can say no more than there is room for.
    let all = fill(&mut sessions, id, sent);
    assert!(all > sent, "{all} of {sent}");
    sessions.trunk.consumes = true;
    // A little of the window was taken before.
    let consumed = sessions
        .trunk
        .session
        .consumed(StreamId::new(id), WINDOW - 10_000);
    assert_eq!(consumed, Ok(()));
    let said = sessions.said_to_the_end(id);
    expect_given_back(&said, all);
    assert_eq!(only_documents(said), documents);
}

/// A script says all that it has to say, and closes.
#[test]
fn what_came_behind_a_login_counts_if_the_login_does() {
    let (_peer, ecm, mut sessions) = start(PLAIN, "");
    let (mut client, id) = open(&ecm, &mut sessions);
    client.send(&format!("{AUTH}{HEADER}<iq id='1'/><message/><mess"));
    drop(client);
    let expected = documents(&[
        AUTH,
        OPEN,
        "<iq xmlns='jabber:client' id='1'/>",
        "<message xmlns='jabber:client'/>",
    ]);
    assert_eq!(sessions.said_to_the_end(id), [expected, gone(&[])].concat());
    let (mut client, id) = open(&ecm, &mut sessions);
    client.send(&format!("{AUTH}{END}"));
    drop(client);
    assert_eq!(sessions.document(id), AUTH);
    assert_eq!(sessions.document(id), CLOSE);
    sessions.send(id, &[CLOSE]);
    sessions.trunk.finish(id);
    assert_eq!(sessions.next(id), Said::Finished);
}

#[test]
fn what_waits_for_a_busy_ejabberd_counts_when_its_client_is_given_up() {
    let limits = "[limits]\nsend_timeout = \"2s\"\n";
    let (_peer, mut ecm, mut sessions) = start(PLAIN, limits);
    let (mut client, id) = log_in(&ecm, &mut sessions);
    sessions.trunk.consumes = false;
    let (stanzas, documents) = twenty(20_000);
    // More than a window, so that some of it stays in the program.
    client.send(&stanzas.concat());
    fill(&mut sessions, id, 0);
    ecm.wait_for_log("a deadline passed: Output");
    sessions.trunk.consumes = true;
    // A little of it was taken before.
    let held = WINDOW - 10_000;
    let consumed = sessions.trunk.session.consumed(StreamId::new(id), held);
    assert_eq!(consumed, Ok(()));
    let got = only_documents(sessions.said_to_the_end(id));
    assert!(got.len() > WINDOW / 20_000, "{} of 20", got.len());
    assert_eq!(got, documents[..got.len()]);
}

/// Each row: what comes by TLS behind the stanzas, in the same write.
#[test]
fn what_came_before_the_end_of_its_tls_counts() {
    let authority = Authority::new();
    let pair = authority.sign("a.example");
    let (_peer, ecm, mut sessions) = start("kind = \"xmpps\"\n", &pair.table());
    for version in [&TLS12, &TLS13] {
        let forged = [&[23, 3, 3, 0, 40][..], &[0; 40]].concat();
        for end in ["close_notify", "nothing", "half a record", "forged"] {
            let config = Arc::new(authority.client(version, &[]));
            let mut client = TlsClient::connect(ecm.address, &config, "a.example").unwrap();
            client.send(HEADER);
            let (id, ..) = sessions.opened();
            sessions.send(id, &[EJABBERD_OPEN, SUCCESS]);
            client.expect(&format!("{SERVER_HEADER}{SUCCESS}"));
            client.send(HEADER);
            assert_eq!(sessions.document(id), OPEN);
            let (stanzas, documents) = twenty(1000);
            let connection = &mut client.0.conn;
            connection
                .writer()
                .write_all(stanzas.concat().as_bytes())
                .unwrap();
            if end == "close_notify" {
                connection.send_close_notify();
            }
            let mut bytes = Vec::new();
            while connection.wants_write() {
                connection.write_tls(&mut bytes).unwrap();
            }
            match end {
                "half a record" => bytes.extend_from_slice(&forged[..20]),
                "forged" => bytes.extend_from_slice(&forged),
                _ => {}
            }
            client.0.sock.write_all(&bytes).unwrap();
            drop(client);
            let said = sessions.said_to_the_end(id);
            assert_eq!(said[documents.len()..], gone(&[]), "{end}");
            assert_eq!(only_documents(said), documents, "{end}");
        }
    }
}

#[test]
fn large_stanzas_go_both_ways_with_tls() {
    let authority = Authority::new();
    let pair = authority.sign("a.example");
    let (_peer, ecm, mut sessions) = start("kind = \"xmpps\"\n", &pair.table());
    let config = Arc::new(authority.client(&TLS13, &["xmpp-client"]));
    let mut client = TlsClient::connect(ecm.address, &config, "a.example").unwrap();
    client.send(HEADER);
    let (id, ..) = sessions.opened();
    sessions.send(id, &[EJABBERD_OPEN, SUCCESS]);
    client.expect(&format!("{SERVER_HEADER}{SUCCESS}"));
    client.send(HEADER);
    assert_eq!(sessions.document(id), OPEN);
    sessions.send(id, &[EJABBERD_OPEN]);
    client.expect(SERVER_HEADER);
    let body = "y".repeat(200_000);
    let stanza = format!("<message><body>{body}</body></message>");
    let document = format!("<message xmlns='jabber:client'><body>{body}</body></message>");
    client.send(&stanza);
    assert_eq!(sessions.document(id), document);
    sessions.send(id, &[&document]);
    let reader = std::thread::spawn(move || client.expect(&stanza));
    while !reader.is_finished() {
        sessions.trunk.read(Duration::from_millis(5));
    }
    reader.join().unwrap();
}

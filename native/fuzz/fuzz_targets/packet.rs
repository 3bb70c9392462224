//! The terms of `erlang:decode_packet/3`, beside OTP's own.
#![no_main]

use std::num::NonZeroUsize;

use libfuzzer_sys::fuzz_target;
use megaphone_fuzz::erlang::{Batch, term};
use megaphone_fuzz::{Input, count, http};
use megaphone_http::packet::{self, Decoded, HeaderName, Method, Packet, PacketKind, Scheme, Uri};

const PARTS: &[&str] = &[
    "GET /a?b=c HTTP/1.1\r\n",
    "PUT http://[::1]:80/x HTTP/1.1\r\n",
    "HTTP/1.1 200 OK\r\n",
    "content-length: 5\r\n",
    "X-Y: z\r\n ",
    "GET",
    "POST",
    "get",
    "G(T",
    "HTTP/1.1",
    "HTTP/1.0",
    "HTTP/",
    "HTTP/4294967297.1",
    "http/1.1",
    " ",
    "  ",
    "\t",
    "/",
    "*",
    "http://a:80/b",
    "HTTPS://[::1]:80/x",
    "http://",
    "http://a:99999999999",
    "a:443",
    "mailto:a@b",
    "200",
    "2x",
    "99999999999",
    "OK",
    "Host",
    "content-length",
    "X-Forwarded-For",
    "x--y",
    "-a-",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ":",
    ": ",
    " :",
    ";",
    "\r\n",
    "\n",
    "\r",
    "\r\n ",
    "\r\n\t",
    "\0",
    "\u{7f}",
    "ä",
    "(",
    "[",
    "]",
];

fuzz_target!(|input: &[u8]| {
    let mut input = Input::new(input);
    let mut batch = Batch::new(b'p');
    while !input.is_empty() {
        let mut bytes = Vec::new();
        for _ in 0..input.below(4) + 1 {
            bytes.extend_from_slice(&http::text(&mut input, PARTS));
        }
        let limit = NonZeroUsize::new(usize::from(input.byte()));
        for (option, kind) in [(b'r', PacketKind::Http), (b'h', PacketKind::Httph)] {
            let decoded = packet::decode(kind, &bytes, None);
            batch.add(option, &bytes, &term_of(&decoded, &bytes));
            // With a limit it is the same, or refused.
            let limited = packet::decode(kind, &bytes, limit);
            assert!(
                limited == decoded || limited == Decoded::Invalid,
                "{limited:?}, not {decoded:?}"
            );
        }
    }
    count(batch.compare());
});

fn term_of(decoded: &Decoded<'_>, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    match decoded {
        Decoded::More => {
            term::tuple(&mut out, 2);
            term::atom(&mut out, "more");
            term::atom(&mut out, "undefined");
        }
        Decoded::Invalid => {
            term::tuple(&mut out, 2);
            term::atom(&mut out, "error");
            term::atom(&mut out, "invalid");
        }
        Decoded::Packet { packet, consumed } => {
            term::tuple(&mut out, 3);
            term::atom(&mut out, "ok");
            put_packet(&mut out, packet);
            term::binary(&mut out, &bytes[*consumed..]);
        }
    }
    out
}

fn put_packet(out: &mut Vec<u8>, packet: &Packet<'_>) {
    match packet {
        Packet::Request {
            method,
            uri,
            version,
        } => {
            term::tuple(out, 4);
            term::atom(out, "http_request");
            match method {
                Method::Known(name) => term::atom(out, name),
                Method::Other(name) => term::binary(out, name),
            }
            put_uri(out, uri);
            put_version(out, *version);
        }
        Packet::Response {
            version,
            status,
            phrase,
        } => {
            term::tuple(out, 4);
            term::atom(out, "http_response");
            put_version(out, *version);
            term::integer(out, *status);
            term::binary(out, phrase);
        }
        Packet::Header {
            number,
            name,
            raw_name,
            value,
        } => {
            term::tuple(out, 5);
            term::atom(out, "http_header");
            term::integer(out, i32::from(*number));
            match name {
                HeaderName::Known(name) => term::atom(out, name),
                HeaderName::Other(name) => term::binary(out, name),
            }
            term::binary(out, raw_name);
            term::binary(out, value);
        }
        Packet::EndOfHeaders => term::atom(out, "http_eoh"),
        Packet::Error(line) => {
            term::tuple(out, 2);
            term::atom(out, "http_error");
            term::binary(out, line);
        }
    }
}

fn put_version(out: &mut Vec<u8>, (major, minor): (i32, i32)) {
    term::tuple(out, 2);
    term::integer(out, major);
    term::integer(out, minor);
}

fn put_uri(out: &mut Vec<u8>, uri: &Uri<'_>) {
    match uri {
        Uri::Asterisk => term::atom(out, "*"),
        Uri::AbsPath(path) => {
            term::tuple(out, 2);
            term::atom(out, "abs_path");
            term::binary(out, path);
        }
        Uri::Absolute {
            scheme,
            host,
            port,
            path,
        } => {
            term::tuple(out, 5);
            term::atom(out, "absoluteURI");
            term::atom(
                out,
                match scheme {
                    Scheme::Http => "http",
                    Scheme::Https => "https",
                },
            );
            term::binary(out, host);
            match port {
                Some(port) => term::integer(out, *port),
                None => term::atom(out, "undefined"),
            }
            term::binary(out, path);
        }
        Uri::Scheme(scheme, rest) => {
            term::tuple(out, 3);
            term::atom(out, "scheme");
            term::binary(out, scheme);
            term::binary(out, rest);
        }
        Uri::Other(other) => term::binary(out, other),
    }
}

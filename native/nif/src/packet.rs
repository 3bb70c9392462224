//! The terms of erlang:decode_packet/3 for HTTP.

use megaphone_http::packet::{self, Decoded, HeaderName, Method, Packet, PacketKind, Scheme, Uri};
use megaphone_socket::sink::Text;
use rustler::{Atom, Binary, Encoder, Env, Error, NewBinary, NifResult, Term};

use crate::atoms;

/// One packet as gen_tcp and decode_packet give it.
pub(crate) fn term<'a>(env: Env<'a>, packet: &Packet<'_>, text: Text) -> Term<'a> {
    let text = |bytes: &[u8]| text_term(env, bytes, text);
    match packet {
        Packet::Request {
            method,
            uri,
            version,
        } => {
            let method = match method {
                Method::Known(name) => known(env, name),
                Method::Other(name) => text(name),
            };
            (
                atoms::http_request(),
                method,
                uri_term(env, uri, text),
                *version,
            )
                .encode(env)
        }
        Packet::Response {
            version,
            status,
            phrase,
        } => (atoms::http_response(), *version, *status, text(phrase)).encode(env),
        Packet::Header {
            number,
            name,
            raw_name,
            value,
        } => {
            let name = match name {
                HeaderName::Known(name) => known(env, name),
                HeaderName::Other(name) => text(name),
            };
            (
                atoms::http_header(),
                *number,
                name,
                text(raw_name),
                text(value),
            )
                .encode(env)
        }
        Packet::EndOfHeaders => atoms::http_eoh().encode(env),
        Packet::Error(line) => (atoms::http_error(), text(line)).encode(env),
    }
}

fn uri_term<'a>(env: Env<'a>, uri: &Uri<'_>, text: impl Fn(&[u8]) -> Term<'a>) -> Term<'a> {
    match uri {
        Uri::Asterisk => known(env, "*"),
        Uri::AbsPath(path) => (atoms::abs_path(), text(path)).encode(env),
        Uri::Absolute {
            scheme,
            host,
            port,
            path,
        } => {
            let scheme = match scheme {
                Scheme::Http => atoms::http(),
                Scheme::Https => atoms::https(),
            };
            let port = match port {
                Some(port) => port.encode(env),
                None => atoms::undefined().encode(env),
            };
            (atoms::absolute_uri(), scheme, text(host), port, text(path)).encode(env)
        }
        Uri::Scheme(scheme, rest) => (atoms::scheme(), text(scheme), text(rest)).encode(env),
        Uri::Other(uri) => text(uri),
    }
}

fn text_term<'a>(env: Env<'a>, bytes: &[u8], text: Text) -> Term<'a> {
    match text {
        Text::Binary => NewBinary::from_slice(env, bytes).into(),
        Text::List => bytes.encode(env),
    }
}

/// Only names of the decoder's own fixed lists come here: no input makes an atom.
fn known<'a>(env: Env<'a>, name: &'static str) -> Term<'a> {
    match Atom::from_str(env, name) {
        Ok(atom) => atom.encode(env),
        Err(_) => atoms::undefined().encode(env),
    }
}

#[rustler::nif]
fn decode_packet<'a>(env: Env<'a>, kind: Atom, data: Binary<'a>) -> NifResult<Term<'a>> {
    let (kind, text) = if kind == atoms::http() {
        (PacketKind::Http, Text::List)
    } else if kind == atoms::http_bin() {
        (PacketKind::Http, Text::Binary)
    } else if kind == atoms::httph() {
        (PacketKind::Httph, Text::List)
    } else if kind == atoms::httph_bin() {
        (PacketKind::Httph, Text::Binary)
    } else {
        return Err(Error::BadArg);
    };
    Ok(match packet::decode(kind, data.as_slice(), None) {
        Decoded::More => (atoms::more(), atoms::undefined()).encode(env),
        Decoded::Invalid => (atoms::error(), atoms::invalid()).encode(env),
        Decoded::Packet { packet, consumed } => {
            let rest: Term<'a> = NewBinary::from_slice(env, &data.as_slice()[consumed..]).into();
            (atoms::ok(), term(env, &packet, text), rest).encode(env)
        }
    })
}

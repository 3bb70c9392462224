//! The decoders by themselves.

use std::time::Instant;

use megaphone_trunk::proxy::{self, Addresses, Command, Header};
use rustler::{Binary, Encoder, Env, Term};

use crate::address::Address;
use crate::atoms;
use crate::charge::charge;
use crate::document;
use crate::text::text;

#[rustler::nif]
fn proxy_header<'a>(env: Env<'a>, bytes: Binary<'a>) -> Term<'a> {
    match proxy::read_any(&bytes) {
        Ok(Some((header, _length))) => {
            let peer = match header {
                Header {
                    command: Command::Proxy,
                    addresses: Addresses::Inet { source, .. },
                    ..
                } => Address::from(source),
                _ => Address::Unknown,
            };
            (atoms::ok(), peer).encode(env)
        }
        Ok(None) => (atoms::more(), proxy::missing(&bytes)).encode(env),
        Err(error) => (atoms::error(), text(env, &error.to_string())).encode(env),
    }
}

#[rustler::nif]
fn parse<'a>(env: Env<'a>, document: Binary<'a>, max_elements: usize) -> Term<'a> {
    let started = Instant::now();
    let term = document::term(env, &document, max_elements);
    charge(env, started.elapsed());
    term
}

#[rustler::nif(schedule = "DirtyCpu")]
fn parse_dirty<'a>(env: Env<'a>, document: Binary<'a>, max_elements: usize) -> Term<'a> {
    document::term(env, &document, max_elements)
}

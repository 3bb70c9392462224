//! Where a connection comes from.

use megaphone_socket::origin::Transport;
use rustler::{Atom, Encoder, Env, Term};

use crate::address::Address;
use crate::atoms;
use crate::handle::SocketHandle;
use crate::resource::Trunk;
use crate::text::{binary, text};

#[rustler::nif]
fn transport(trunk: Trunk, handle: SocketHandle) -> (Atom, Atom) {
    let Some(origin) = trunk.origin(handle.0) else {
        return (atoms::tcp(), atoms::plain());
    };
    let transport = match origin.transport {
        None | Some(Transport::Tcp | Transport::Tls) => atoms::tcp(),
        Some(Transport::WebSocket) => atoms::websocket(),
        Some(Transport::Bosh) => atoms::bosh(),
    };
    let security = if origin.is_tls {
        atoms::tls()
    } else {
        atoms::plain()
    };
    (transport, security)
}

#[rustler::nif]
fn take_channel_bindings(
    env: Env<'_>,
    trunk: Trunk,
    handle: SocketHandle,
) -> Vec<(Term<'_>, Term<'_>)> {
    let bindings = trunk.take_bindings(handle.0);
    [
        ("tls-exporter", bindings.exporter.as_ref().map(|it| &it[..])),
        ("tls-server-end-point", bindings.end_point.as_deref()),
        ("tls-unique", bindings.unique.as_ref().map(|it| &it[..])),
    ]
    .into_iter()
    .filter_map(|(name, bytes)| Some((text(env, name), binary(env, bytes?))))
    .collect()
}

#[rustler::nif]
fn take_certificate(env: Env<'_>, trunk: Trunk, handle: SocketHandle) -> Term<'_> {
    match trunk.take_certificate(handle.0) {
        Some(certificate) => binary(env, &certificate),
        None => atoms::none().encode(env),
    }
}

#[rustler::nif]
fn take_takeover(env: Env<'_>, trunk: Trunk, handle: SocketHandle) -> Term<'_> {
    match trunk.take_takeover(handle.0) {
        Some(token) => binary(env, &token),
        None => atoms::none().encode(env),
    }
}

#[rustler::nif]
fn take_http_fields(env: Env<'_>, trunk: Trunk, handle: SocketHandle) -> Term<'_> {
    let fields = trunk.take_fields(handle.0).unwrap_or_default();
    binary(env, &fields)
}

#[rustler::nif]
fn peername(env: Env<'_>, trunk: Trunk, handle: SocketHandle) -> Term<'_> {
    match trunk.origin(handle.0) {
        Some(origin) => Address::from(origin.source).encode(env),
        None => trunk.peername().encode(env),
    }
}

#[rustler::nif]
fn sockname(env: Env<'_>, trunk: Trunk, handle: SocketHandle) -> Term<'_> {
    match trunk.origin(handle.0) {
        Some(origin) => Address::from(origin.destination).encode(env),
        None => trunk.sockname.encode(env),
    }
}

//! A trunk: its reader feeds it, its writer takes its output.

use std::time::Instant;

use megaphone_socket::origin::Protocol;
use rustler::{Atom, Binary, Encoder, Env, LocalPid, NifResult, ResourceArc, Term};

use crate::address::Address;
use crate::atoms;
use crate::charge::charge;
use crate::mailbox::Mailbox;
use crate::resource::{Trunk, TrunkResource};
use crate::settings::Settings;
use crate::status::status_term;
use crate::text::{binary, text};

#[rustler::nif]
fn open(env: Env<'_>, settings: Settings) -> NifResult<Trunk> {
    let config = settings.config()?;
    let Settings {
        listener,
        peername,
        sockname,
        ..
    } = settings;
    let trunk = TrunkResource::new(config, env.pid(), listener, peername, sockname);
    Ok(ResourceArc::new(trunk))
}

#[rustler::nif]
fn set_writer(env: Env<'_>, trunk: Trunk, writer: LocalPid) -> Atom {
    let mut mailbox = Mailbox::new(env, &trunk);
    trunk.set_writer(writer, &mut mailbox);
    atoms::ok()
}

#[rustler::nif]
fn feed<'a>(env: Env<'a>, trunk: Trunk, data: Binary<'a>) -> Term<'a> {
    let started = Instant::now();
    let result = fed(env, &trunk, data.as_slice());
    charge(env, started.elapsed());
    result
}

#[rustler::nif(schedule = "DirtyCpu")]
fn feed_dirty<'a>(env: Env<'a>, trunk: Trunk, data: Binary<'a>) -> Term<'a> {
    fed(env, &trunk, data.as_slice())
}

fn fed<'a>(env: Env<'a>, trunk: &Trunk, data: &[u8]) -> Term<'a> {
    let fed = trunk.feed(data, &mut Mailbox::new(env, trunk));
    let opened = fed.opened.into_iter();
    let opened: Vec<(u64, Atom)> = opened
        .map(|(handle, protocol)| (handle.raw(), protocol_atom(protocol)))
        .collect();
    let ended = fed.busy.iter().map(|owner| owner.encode(env));
    let half_closed = fed.half_closed.iter();
    let half_closed = half_closed.map(|owner| (atoms::half_closed(), owner).encode(env));
    let busy: Vec<Term<'a>> = ended.chain(half_closed).collect();
    match fed.error {
        None => (atoms::ok(), opened, busy).encode(env),
        Some(error) => (atoms::error(), opened, busy, text(env, &error.to_string())).encode(env),
    }
}

#[rustler::nif]
fn take_output(env: Env<'_>, trunk: Trunk, limit: usize) -> Term<'_> {
    let started = Instant::now();
    let mut mailbox = Mailbox::new(env, &trunk);
    let batch = trunk.take_output(limit, &mut mailbox, |batch| binary(env, batch));
    // It may have many to wake.
    drop(mailbox);
    charge(env, started.elapsed());
    batch.unwrap_or_else(|| atoms::none().encode(env))
}

#[rustler::nif]
fn version(trunk: Trunk) -> u8 {
    trunk.version()
}

#[rustler::nif]
fn sweep(env: Env<'_>, trunk: Trunk) -> Vec<LocalPid> {
    let started = Instant::now();
    let busy = trunk.sweep(&mut Mailbox::new(env, &trunk));
    charge(env, started.elapsed());
    busy
}

#[rustler::nif]
fn tick(env: Env<'_>, trunk: Trunk) -> Term<'_> {
    match trunk.tick(&mut Mailbox::new(env, &trunk)) {
        Ok(()) => atoms::ok().encode(env),
        Err(error) => (atoms::error(), text(env, &error.to_string())).encode(env),
    }
}

#[rustler::nif(schedule = "DirtyCpu")]
fn drain(env: Env<'_>, trunk: Trunk) -> Atom {
    trunk.drain(&mut Mailbox::new(env, &trunk));
    atoms::ok()
}

#[rustler::nif(schedule = "DirtyCpu")]
fn in_flight(trunk: Trunk) -> Vec<LocalPid> {
    trunk.in_flight()
}

#[rustler::nif]
fn has_output(trunk: Trunk) -> bool {
    trunk.has_output()
}

#[rustler::nif(schedule = "DirtyCpu")]
fn sessions(trunk: Trunk) -> Vec<LocalPid> {
    trunk.owners(Protocol::XmppFraming)
}

#[rustler::nif]
fn held_up(trunk: Trunk) -> u64 {
    trunk.held_up()
}

#[rustler::nif]
fn is_serving(trunk: Trunk) -> bool {
    trunk.is_serving()
}

#[rustler::nif(schedule = "DirtyCpu")]
fn lose(env: Env<'_>, trunk: Trunk) -> Vec<LocalPid> {
    let busy = trunk.lose(&mut Mailbox::new(env, &trunk));
    trunk.retire();
    busy
}

#[rustler::nif]
fn set_peername(trunk: Trunk, peername: Address) -> Atom {
    trunk.set_peername(peername);
    atoms::ok()
}

#[rustler::nif]
fn set_tls(trunk: Trunk, version: String, certificate: String) -> Atom {
    trunk.set_tls(version, certificate);
    atoms::ok()
}

#[rustler::nif]
fn status(env: Env<'_>, trunk: Trunk) -> Term<'_> {
    status_term(env, &trunk.status())
}

#[rustler::nif]
fn number(trunk: Trunk) -> u64 {
    trunk.number
}

fn protocol_atom(protocol: Protocol) -> Atom {
    match protocol {
        Protocol::Http => atoms::http(),
        Protocol::XmppClient => atoms::xmpp_client(),
        Protocol::XmppFraming => atoms::xmpp_framing(),
        Protocol::Raw => atoms::raw(),
    }
}

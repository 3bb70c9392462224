//! A connection: gen_tcp's and inet's functions.

use megaphone_socket::sink::{Piece, Reason, WRITER};
use megaphone_socket::{Direction, Handle, Recv, Send, Traffic};
use rustler::{Atom, Binary, Encoder, Env, Error, LocalPid, NifResult, Term};

use crate::atoms;
use crate::charge::charge_bytes;
use crate::handle::SocketHandle;
use crate::mailbox::{Mailbox, piece_term, reason_atom};
use crate::resource::Trunk;
use crate::settings::{Milliseconds, SocketOption, active_term, mode_term};

#[rustler::nif]
fn own(env: Env<'_>, trunk: Trunk, handle: SocketHandle, owner: LocalPid) -> Atom {
    let owned = trunk.own(handle.0, owner, &mut Mailbox::new(env, &trunk));
    if owned { atoms::ok() } else { atoms::closed() }
}

#[rustler::nif]
fn owner(env: Env<'_>, trunk: Trunk, handle: SocketHandle) -> Term<'_> {
    match trunk.owner(handle.0) {
        Some(owner) => owner.encode(env),
        None => atoms::closed().encode(env),
    }
}

#[rustler::nif]
fn recv(env: Env<'_>, trunk: Trunk, handle: SocketHandle, length: usize) -> Term<'_> {
    charge_bytes(env, length);
    received(env, &trunk, handle.0, length)
}

#[rustler::nif(schedule = "DirtyCpu")]
fn recv_dirty(env: Env<'_>, trunk: Trunk, handle: SocketHandle, length: usize) -> Term<'_> {
    received(env, &trunk, handle.0, length)
}

fn received<'a>(env: Env<'a>, trunk: &Trunk, handle: Handle, length: usize) -> Term<'a> {
    let mut mailbox = Mailbox::new(env, trunk);
    let take = |piece: Piece<'_>| piece_term(env, piece);
    match trunk.recv(handle, env.pid(), length, &mut mailbox, take) {
        Recv::Taken(data) => (atoms::ok(), data).encode(env),
        Recv::Wait(number) => (atoms::wait(), number).encode(env),
        Recv::Failed(reason) => failed(env, reason),
    }
}

#[rustler::nif]
fn send<'a>(
    env: Env<'a>,
    trunk: Trunk,
    handle: SocketHandle,
    data: Term<'a>,
) -> NifResult<Term<'a>> {
    let data = match Binary::from_term(data) {
        Ok(data) => data,
        Err(_) => Binary::from_iolist(data)?,
    };
    charge_bytes(env, data.len());
    let mut mailbox = Mailbox::new(env, &trunk);
    let sent = trunk.send(handle.0, env.pid(), data.as_slice(), &mut mailbox);
    Ok(send_answer(env, &trunk, handle.0, sent))
}

#[rustler::nif]
fn reserve(env: Env<'_>, trunk: Trunk, handle: SocketHandle, length: usize) -> Term<'_> {
    let mut mailbox = Mailbox::new(env, &trunk);
    let reserved = trunk.reserve(handle.0, env.pid(), length, &mut mailbox);
    send_answer(env, &trunk, handle.0, reserved)
}

#[rustler::nif]
fn unreserve(env: Env<'_>, trunk: Trunk, handle: SocketHandle) -> Atom {
    let mut mailbox = Mailbox::new(env, &trunk);
    trunk.unreserve(handle.0, &mut mailbox);
    atoms::ok()
}

fn send_answer<'a>(env: Env<'a>, trunk: &Trunk, handle: Handle, answer: Send) -> Term<'a> {
    match answer {
        Send::Done => atoms::ok().encode(env),
        Send::Wait(number) => {
            let options = trunk.options(handle);
            let timeout = options.and_then(|options| options.send_timeout);
            (atoms::wait(), number, Milliseconds(timeout)).encode(env)
        }
        Send::Failed(reason) => failed(env, reason),
    }
}

#[rustler::nif]
fn cancel(env: Env<'_>, trunk: Trunk, handle: SocketHandle, number: u64) -> NifResult<Atom> {
    if number == WRITER {
        return Err(Error::BadArg);
    }
    let cancelled = trunk.cancel(handle.0, env.pid(), number);
    Ok(if cancelled {
        atoms::cancelled()
    } else {
        atoms::sent()
    })
}

#[rustler::nif]
fn close(env: Env<'_>, trunk: Trunk, handle: SocketHandle) -> Atom {
    trunk.close(handle.0, &mut Mailbox::new(env, &trunk));
    atoms::ok()
}

#[rustler::nif]
fn reset(env: Env<'_>, trunk: Trunk, handle: SocketHandle) -> Atom {
    trunk.reset(handle.0, &mut Mailbox::new(env, &trunk));
    atoms::ok()
}

#[rustler::nif]
fn shutdown(env: Env<'_>, trunk: Trunk, handle: SocketHandle, how: Atom) -> NifResult<Atom> {
    let how = if how == atoms::read() {
        Direction::Read
    } else if how == atoms::write() {
        Direction::Write
    } else if how == atoms::read_write() {
        Direction::ReadWrite
    } else {
        return Err(Error::BadArg);
    };
    let open = trunk.shutdown(handle.0, how, &mut Mailbox::new(env, &trunk));
    Ok(if open { atoms::ok() } else { atoms::closed() })
}

#[rustler::nif]
fn setopts(
    env: Env<'_>,
    trunk: Trunk,
    handle: SocketHandle,
    options: Vec<SocketOption>,
) -> Term<'_> {
    let changes: Vec<_> = options.into_iter().map(|option| option.0).collect();
    let mut mailbox = Mailbox::new(env, &trunk);
    match trunk.set_options(handle.0, &changes, &mut mailbox) {
        Ok(()) => atoms::ok().encode(env),
        Err(reason) => failed(env, reason),
    }
}

#[rustler::nif]
fn getopts(env: Env<'_>, trunk: Trunk, handle: SocketHandle) -> Term<'_> {
    match trunk.options(handle.0) {
        None => atoms::closed().encode(env),
        Some(options) => [
            (atoms::active(), active_term(env, options.active)),
            (atoms::packet(), mode_term(env, options.mode)),
            (
                atoms::send_timeout(),
                Milliseconds(options.send_timeout).encode(env),
            ),
        ]
        .as_slice()
        .encode(env),
    }
}

#[rustler::nif]
fn getstat(env: Env<'_>, trunk: Trunk, handle: SocketHandle) -> Term<'_> {
    match trunk.statistics(handle.0) {
        None => atoms::closed().encode(env),
        Some(statistics) => {
            let traffic = |traffic: Traffic| (traffic.bytes, traffic.count, traffic.largest);
            let received = traffic(statistics.received);
            let sent = traffic(statistics.sent);
            (received, sent, statistics.pending).encode(env)
        }
    }
}

#[rustler::nif]
fn is_open(trunk: Trunk, handle: SocketHandle) -> bool {
    trunk.is_open(handle.0)
}

#[rustler::nif]
fn watch(env: Env<'_>, trunk: Trunk, handle: SocketHandle) -> Term<'_> {
    let mut mailbox = Mailbox::new(env, &trunk);
    match trunk.watch(handle.0, env.pid(), &mut mailbox) {
        Some(number) => (atoms::wait(), number).encode(env),
        None => atoms::closed().encode(env),
    }
}

fn failed(env: Env<'_>, reason: Reason) -> Term<'_> {
    (atoms::error(), reason_atom(env, reason)).encode(env)
}

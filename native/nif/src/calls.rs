//! The functions of `megaphone_nif`.

use std::time::{Duration, Instant};

use megaphone_socket::origin::{Protocol, Transport};
use megaphone_socket::sink::{Reason, WRITER};
use megaphone_socket::{Direction, Handle, Recv, Send};
use megaphone_trunk::proxy::{self, Addresses, Command, Header};
use rustler::schedule::consume_timeslice;
use rustler::{Atom, Binary, Encoder, Env, Error, LocalPid, NifResult, ResourceArc, Term};

use crate::address::Address;
use crate::atoms;
use crate::document;
use crate::handle::SocketHandle;
use crate::mailbox::{Mailbox, piece_term, reason_atom};
use crate::resource::{self, TrunkResource};
use crate::settings::{Milliseconds, Settings, SocketOption, active_term, mode_term};
use crate::status::{status_term, trunk_term};
use crate::text::{binary, text};

type Trunk = ResourceArc<TrunkResource>;

/// What one percent of a timeslice (1 ms) pays for.
const PERCENT: Duration = Duration::from_micros(10);
/// Bytes that are copied in one percent of a timeslice.
const BYTES_A_PERCENT: usize = 64 << 10;

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
    let take = |piece: megaphone_socket::sink::Piece<'_>| piece_term(env, piece);
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
            let traffic = |traffic: megaphone_socket::Traffic| {
                (traffic.bytes, traffic.count, traffic.largest)
            };
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
fn take_http_fields(env: Env<'_>, trunk: Trunk, handle: SocketHandle) -> Term<'_> {
    let fields = trunk.take_fields(handle.0).unwrap_or_default();
    binary(env, &fields)
}

#[rustler::nif]
fn take_takeover(env: Env<'_>, trunk: Trunk, handle: SocketHandle) -> Term<'_> {
    match trunk.take_takeover(handle.0) {
        Some(token) => binary(env, &token),
        None => atoms::none().encode(env),
    }
}

#[rustler::nif]
fn reset(env: Env<'_>, trunk: Trunk, handle: SocketHandle) -> Atom {
    trunk.reset(handle.0, &mut Mailbox::new(env, &trunk));
    atoms::ok()
}

#[rustler::nif]
fn version(trunk: Trunk) -> u8 {
    trunk.version()
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
fn admit(listener: LocalPid, most: usize) -> bool {
    resource::admit(listener, most)
}

#[rustler::nif]
fn set_peername(trunk: Trunk, peername: Address) -> Atom {
    trunk.set_peername(peername);
    atoms::ok()
}

#[rustler::nif]
fn status(env: Env<'_>, trunk: Trunk) -> Term<'_> {
    status_term(env, &trunk.status())
}

#[rustler::nif(schedule = "DirtyCpu")]
fn trunks(env: Env<'_>) -> Vec<Term<'_>> {
    resource::trunks()
        .iter()
        .map(|shared| trunk_term(env, shared))
        .collect()
}

#[rustler::nif]
fn trunk(env: Env<'_>, number: u64) -> Term<'_> {
    match resource::trunk(number) {
        Some(shared) => trunk_term(env, &shared),
        None => atoms::none().encode(env),
    }
}

#[rustler::nif]
fn ended(env: Env<'_>) -> Term<'_> {
    status_term(env, &resource::ended())
}

#[rustler::nif]
fn number(trunk: Trunk) -> u64 {
    trunk.number
}

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

fn protocol_atom(protocol: Protocol) -> Atom {
    match protocol {
        Protocol::Http => atoms::http(),
        Protocol::XmppClient => atoms::xmpp_client(),
        Protocol::XmppFraming => atoms::xmpp_framing(),
        Protocol::Raw => atoms::raw(),
    }
}

fn failed(env: Env<'_>, reason: Reason) -> Term<'_> {
    (atoms::error(), reason_atom(env, reason)).encode(env)
}

fn charge(env: Env<'_>, elapsed: Duration) {
    let percent = elapsed.as_micros() / PERCENT.as_micros();
    if percent > 0 {
        consume_timeslice(env, i32::try_from(percent).unwrap_or(100).min(100));
    }
}

fn charge_bytes(env: Env<'_>, bytes: usize) {
    let percent = bytes / BYTES_A_PERCENT;
    if percent > 0 {
        consume_timeslice(env, i32::try_from(percent).unwrap_or(100).min(100));
    }
}

//! The counters as maps.

use megaphone_socket::{Sessions, Status};
use rustler::{Atom, Encoder, Env, NifMap, Term};

use crate::address::Address;
use crate::atoms;
use crate::resource::SharedTrunk;
use crate::text::text;

#[derive(NifMap)]
struct StatusMap<'a> {
    connections: usize,
    opened: u64,
    frames_in: u64,
    frames_out: u64,
    bytes_in: u64,
    bytes_out: u64,
    buffered: usize,
    unsent: usize,
    waiters: usize,
    sessions: SessionsMap,
    errors: Term<'a>,
}

#[derive(NifMap)]
struct SessionsMap {
    tcp: usize,
    tls: usize,
    websocket: usize,
    bosh: usize,
}

#[derive(NifMap)]
struct TrunkMap<'a> {
    number: u64,
    reader: rustler::LocalPid,
    peername: Address,
    sockname: Address,
    version: u8,
    since: u64,
    draining: bool,
    tls: Term<'a>,
    status: Term<'a>,
}

/// One trunk as `megaphone_nif:trunks/0` lists it.
pub(crate) fn trunk_term<'a>(env: Env<'a>, shared: &SharedTrunk) -> Term<'a> {
    TrunkMap {
        number: shared.number,
        reader: shared.reader(),
        peername: shared.peername(),
        sockname: shared.sockname.clone(),
        version: shared.version(),
        since: shared.since,
        draining: shared.is_draining(),
        tls: match shared.tls() {
            Some((version, certificate)) => {
                (text(env, &version), text(env, &certificate)).encode(env)
            }
            None => atoms::none().encode(env),
        },
        status: status_term(env, &shared.status()),
    }
    .encode(env)
}

/// Counters as a map; `errors` is a map from kind to count.
pub(crate) fn status_term<'a>(env: Env<'a>, status: &Status) -> Term<'a> {
    let errors: Vec<(Atom, u64)> = status
        .errors
        .iter()
        .filter_map(|(kind, count)| Some((Atom::from_str(env, kind).ok()?, *count)))
        .collect();
    StatusMap {
        connections: status.connections,
        opened: status.opened,
        frames_in: status.frames_in,
        frames_out: status.frames_out,
        bytes_in: status.bytes_in,
        bytes_out: status.bytes_out,
        buffered: status.buffered,
        unsent: status.unsent,
        waiters: status.waiters,
        sessions: sessions_map(status.sessions),
        errors: Term::map_from_pairs(env, &errors).unwrap_or_else(|_| Term::map_new(env)),
    }
    .encode(env)
}

fn sessions_map(sessions: Sessions) -> SessionsMap {
    SessionsMap {
        tcp: sessions.tcp,
        tls: sessions.tls,
        websocket: sessions.websocket,
        bosh: sessions.bosh,
    }
}

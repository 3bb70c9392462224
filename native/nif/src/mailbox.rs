//! Messages from the NIF to processes.
//!
//! | message | to | means |
//! |---|---|---|
//! | `{'$megaphone', N}` | who was told `{wait, N}` | call again |
//! | `{'$megaphone', 0}` | the trunk's writer | there is output |
//! | `{tcp, S, Data}`, `{http, S, Packet}` | an active socket's owner | as gen_tcp's |
//! | `{tcp_passive, S}`, `{tcp_closed, S}`, `{tcp_error, S, Reason}` | the same | as gen_tcp's |

use megaphone_socket::sink::{Delivery, Piece};
use megaphone_socket::{Handle, Monitor, Sink};
use rustler::{Atom, Encoder, Env, LocalPid, ResourceArc, Term};

use crate::atoms;
use crate::packet;
use crate::resource::TrunkResource;
use crate::text::binary;

/// Sends deliveries at once and wakes when it is dropped, by when no lock is held.
pub(crate) struct Mailbox<'a, 'b> {
    env: Env<'a>,
    trunk: Option<&'b ResourceArc<TrunkResource>>,
    wakes: Vec<(LocalPid, u64)>,
}

impl<'a, 'b> Mailbox<'a, 'b> {
    pub(crate) fn new(env: Env<'a>, trunk: &'b ResourceArc<TrunkResource>) -> Self {
        Mailbox {
            env,
            trunk: Some(trunk),
            wakes: Vec::new(),
        }
    }

    /// For the monitor's callback: closing a dead owner's connection wakes others, but there
    /// is no active owner to deliver to.
    pub(crate) fn of_callback(env: Env<'a>) -> Self {
        Mailbox {
            env,
            trunk: None,
            wakes: Vec::new(),
        }
    }
}

impl Sink<LocalPid> for Mailbox<'_, '_> {
    fn wake(&mut self, process: LocalPid, number: u64) {
        self.wakes.push((process, number));
    }

    fn deliver(&mut self, owner: LocalPid, handle: Handle, delivery: Delivery<'_>) {
        let (Some(trunk), env) = (self.trunk, self.env) else {
            return;
        };
        let socket = (
            atoms::socket(),
            atoms::megaphone(),
            (trunk.clone(), handle.raw()),
        );
        // An owner that is dead by now gets nothing; its connection closes by the monitor.
        let _ = match delivery {
            Delivery::Data(piece) => {
                env.send(&owner, (tag(&piece), socket, piece_term(env, piece)))
            }
            Delivery::Passive => env.send(&owner, (atoms::tcp_passive(), socket)),
            Delivery::Closed => env.send(&owner, (atoms::tcp_closed(), socket)),
            Delivery::Error(reason) => {
                let reason = reason_atom(env, reason);
                env.send(&owner, (atoms::tcp_error(), socket, reason))
            }
        };
    }
}

impl Monitor<LocalPid> for Mailbox<'_, '_> {
    fn monitor(&mut self, process: LocalPid) -> bool {
        self.trunk
            .is_some_and(|trunk| self.env.monitor(trunk, &process).is_some())
    }
}

impl Drop for Mailbox<'_, '_> {
    fn drop(&mut self) {
        for (process, number) in self.wakes.drain(..) {
            let _ = self.env.send(&process, (atoms::wake(), number));
        }
    }
}

fn tag(piece: &Piece<'_>) -> Atom {
    match piece {
        Piece::Bytes(_) => atoms::tcp(),
        Piece::Packet(..) => atoms::http(),
    }
}

/// A piece of input as recv answers it: a binary copied to size, or a packet's term.
pub(crate) fn piece_term<'a>(env: Env<'a>, piece: Piece<'_>) -> Term<'a> {
    match piece {
        Piece::Bytes(bytes) => binary(env, bytes),
        Piece::Packet(packet, text) => packet::term(env, packet, text),
    }
}

/// A reason as gen_tcp names it.
pub(crate) fn reason_atom(env: Env<'_>, reason: megaphone_socket::sink::Reason) -> Term<'_> {
    match Atom::from_str(env, reason.name()) {
        Ok(atom) => atom.encode(env),
        Err(_) => atoms::closed().encode(env),
    }
}

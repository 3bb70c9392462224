//! Trunk protocol version 2: yamux version 0, as hashicorp's spec.md has it.
//!
//! A [`Session`] is one end of a trunk, the ECM's ([`Session::client`]) or ejabberd's
//! ([`Session::server`]); both are the same code. It does no I/O and asks no clock:
//!
//! ```text
//!   bytes from the peer --> receive     --> events: opened, data, finished, reset ...
//!   bytes for the peer  <-- take_output <-- open, write, finish, reset, consumed, demand
//!                           tick        <-- the time
//! ```
//!
//! ```
//! use megaphone_trunk::v2::{Config, Event, Session};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let mut ecm = Session::client(Config::default(), 0);
//! let mut ejabberd = Session::server(Config::default(), 0);
//!
//! let stream = ecm.open(0, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")?;
//! let _ = ecm.finish(stream)?;
//! let mut trunk = Vec::new();
//! ecm.take_output(usize::MAX, &mut trunk, &mut |_: Event<'_>| {});
//!
//! let mut events = Vec::new();
//! ejabberd.receive(&trunk, &mut |event| events.push(event))?;
//! let (id, tag) = (stream, 1);
//! assert_eq!(
//!     events,
//!     [
//!         Event::Opened { id },
//!         Event::Data { id, tag, bytes: b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" },
//!         Event::Finished { id, tag },
//!     ]
//! );
//! # Ok(())
//! # }
//! ```
//!
//! # What breaks a rule, and what it costs
//!
//! The specification says what is allowed and hardly ever what becomes of the rest. A fault that
//! no peer makes by accident ends the session: a go-away with code 1 is queued, and
//! [`SessionError`] says which byte of the trunk and which stream. A fault that concerns one
//! stream costs that stream. What two honest peers can do to each other because their frames
//! crossed is let pass, counted, and held under a [`Ceiling`].
//!
//! | the peer sends | what happens | name |
//! |---|---|---|
//! | another version, an unknown type or flag | session ends | `frame_version`, `frame_type`, `frame_flags` |
//! | SYN with ACK or RST; a ping without exactly SYN or ACK; a go-away with a flag | session ends | `flag_combination` |
//! | a data frame or window update for stream 0; a ping or go-away for another | session ends | `session_stream`, `not_session_stream` |
//! | SYN with an id of our parity (even from a client) | session ends | `wrong_parity` |
//! | SYN for a stream that is or was open | session ends | `reused_id` |
//! | SYN for an id more than 65,536 ids behind the highest: new or used, nobody knows | RST | `refused_streams` |
//! | SYN with `max_streams` open, or after a go-away of either side | RST | `refused_streams` |
//! | data or a window update for a stream that never was opened | session ends | `unknown_stream` |
//! | RST, or FIN without data, for such a stream: rust-yamux does so when it drops an unused one | let pass | `stray_frames` |
//! | anything for a stream that is gone | let pass | `stray_frames` |
//! | for such a stream more data than the largest window | session ends | `oversized` |
//! | more data than the window has room for, checked before a byte of it is taken | session ends | `window_overrun` |
//! | a window update past 2^32 - 1 | session ends | `window_overflow` |
//! | data or FIN on a stream that it finished | RST | [`ResetCause::DataAfterFinish`], `unanswered_streams` |
//! | ACK twice, or for its own stream | let pass | `empty_frames` or `idle_updates` if there is nothing else |
//! | go-away with code 0 | no new streams; the open ones go on | [`Event::GoAway`] |
//! | go-away with any other code | session ends, nothing is answered | `peer_failed` |
//! | no window for `linger` on a stream whose owner is gone and has bytes queued | RST | `unread_streams` |
//! | nothing, for `keepalive_timeout` after a ping | session ends, go-away with code 2 | `keepalive_timeout` |
//! | too much that brings no progress | session ends | the [`Ceiling`]'s |
//!
//! # Where output waits
//!
//! A session keeps the output that [`write`](Session::write) takes. If many threads write to the streams of one session,
//! which each of them would have to lock, the streams' owners keep it instead ([`Config::owners_keep_output`]): the
//! writer then makes a [frame](Session::frame_kept) of each in turn, and an owner that goes
//! [leaves](Session::leave) the rest here.
//!
//! Ids are never used again, but they need not come in order: hashicorp's client numbers a stream
//! before it sends the SYN, and rust-yamux sends the SYN with a stream's first bytes. Ours come in
//! order.

mod calls;
mod ceilings;
mod config;
mod error;
mod event;
mod header;
mod ids;
mod keepalive;
mod kept;
mod leaving;
mod output;
mod peer;
mod queues;
mod reading;
mod receive;
mod role;
mod session;
mod stream;
mod table;
mod taking;
mod totals;

pub use calls::{Remains, Written};
pub use ceilings::{Allowance, Ceiling, Ceilings, SMALL_UPDATE, TINY};
pub use config::Config;
pub use error::{GoAwayCode, OpenError, SessionError, SessionFault, StreamError};
pub use event::{Event, Events, ResetCause, Tag};
pub use header::{Flags, FrameType, HEADER_LEN, Header, HeaderFault, INITIAL_WINDOW, StreamId};
pub use output::MAX_DATA;
pub use role::Role;
pub use session::{QueuedStream, Session};
pub use taking::Taken;
pub use totals::Totals;

//! A BOSH session.
//!
//! ```text
//!            Early ──all before it taken──> Held ──────────answered──────────> Answered ──> dropped
//!              ^                             ^  \                                 |
//!   request ───┴─────the next one in order───┘   `-repeated: one more waits       `-repeated: the same
//! ```
//!
//! A payload goes to ejabberd when its request is taken, once, and ejabberd's documents go into the
//! answer of the first request that is held, once. An answer is kept for a client that did not get it;
//! a request whose connection broke gets no payload, since nobody might ask for it again.

mod end;
mod input;
mod output;
mod state;

pub use self::state::{Abandoned, BoshSession, Taken};

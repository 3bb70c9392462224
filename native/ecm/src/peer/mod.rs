//! A client as this program has it: its socket, its TLS, its task, and its place among all clients.

pub mod addresses;
pub mod clients;
pub mod deadlines;
pub mod handed;
mod progress;
pub mod socket;
mod stopwatch;
pub mod task;
pub mod timer;
pub mod tls;
pub mod wait;

pub use self::progress::Moved;
pub use self::socket::{Socket, prepare};

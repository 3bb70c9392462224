//! What the entrances that speak HTTP share: where a request comes from, which entrance takes it, its deadlines, and
//! the answers that this program gives itself.

pub mod answer;
pub mod deadlines;
pub mod handshake;
mod host;
pub mod host_meta;
mod origin;
mod reply;
mod route;
mod unread;

pub use self::host::host_name;
pub use self::host_meta::{HostMeta, Scheme};
pub use self::origin::Origins;
pub use self::reply::Reply;
pub use self::route::{Route, Routes};
pub use self::unread::Unread;

//! Where clients come in: they are accepted, a proxy's word on them is read, and their TLS begins.
//! [`dispatch`] alone knows the four entrances.

pub mod accept;
mod arrive;
mod dispatch;
pub mod inherited;
mod introduction;
pub mod listener;
pub mod peers;
mod refusal;
pub mod successor;

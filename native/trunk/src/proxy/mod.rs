//! The PROXY protocol (HAProxy's proxy-protocol.txt): where a connection comes from, said before
//! its first byte.
//!
//! Version 2, which [`read()`] and [`write()`] speak:
//!
//! ```text
//!  byte  0              12     13     14      16
//!        0D0A0D0A 000D0A515549540A | 2c | fp | length | addresses | TLVs ...
//! ```
//!
//! - `2c`: version 2 and the [`Command`]; `fp`: address family and transport.
//! - `length`, big-endian: of the addresses and TLVs together, at most [`MAX_LENGTH`] here.
//! - A TLV is a type (1 byte), a length (2 bytes, big-endian) and a value.
//!
//! Each stream of a version 2 trunk starts with one. Its TLVs say what follows ([`Header::alpn`])
//! and how the client came. Of those, these are Megaphone's own, of the types that the specification
//! leaves to applications:
//!
//! | type | value | |
//! |---|---|---|
//! | 0xE0 | `tcp`, `tls`, `websocket`, `bosh` | [`Header::transport`] |
//! | 0xE1 | 32 bytes, `tls-exporter` | [`ChannelBindings::exporter`] |
//! | 0xE2 | a hash of 32 to 64 bytes, `tls-server-end-point` | [`ChannelBindings::end_point`] |
//! | 0xE3 | 12 bytes, `tls-unique` | [`ChannelBindings::unique`] |
//! | 0xE4 | lines of a request's head | [`Header::fields`] |
//! | 0xE5 | a token of at most 512 bytes | [`Header::takeover`] |
//!
//! Version 1, which proxies in front may still send and [`read_line`] reads, is a line of text:
//! `PROXY TCP4 192.0.2.1 198.51.100.1 40000 443` and CRLF. [`read_any`] takes both.

mod error;
mod header;
mod line;
mod read;
mod write;

pub use error::ProxyError;
pub use header::{Addresses, ChannelBindings, Command, Header, Tls, Transport};
pub use line::{MAX_LINE, missing, read_any, read_line};
pub use read::read;
pub use write::write;

/// The first bytes of every header.
pub const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// The longest `length` that is read, in bytes: addresses take 216 at most, a certificate's name or a unique
/// id a few hundred, and the fields of a request [`MAX_FIELDS`], or a certificate [`MAX_CERTIFICATE`].
pub const MAX_LENGTH: usize = 16 * 1024;

/// The most bytes of a request's fields that are written.
pub const MAX_FIELDS: usize = 12 * 1024;

/// The longest certificate of a client, in bytes.
pub const MAX_CERTIFICATE: usize = 8192;

/// The longest token of a session that moves, in bytes.
pub const MAX_TAKEOVER: usize = 512;

/// The fixed part, in bytes.
const FIXED: usize = 16;

const TYPE_ALPN: u8 = 0x01;
const TYPE_AUTHORITY: u8 = 0x02;
const TYPE_CRC32C: u8 = 0x03;
const TYPE_UNIQUE_ID: u8 = 0x05;
const TYPE_SSL: u8 = 0x20;
const TYPE_SSL_VERSION: u8 = 0x21;
const TYPE_SSL_CN: u8 = 0x22;
const TYPE_SSL_CIPHER: u8 = 0x23;
const TYPE_SSL_SIGNATURE: u8 = 0x24;
const TYPE_SSL_KEY: u8 = 0x25;
const TYPE_SSL_CLIENT_CERT: u8 = 0x28;
const TYPE_TRANSPORT: u8 = 0xe0;
const TYPE_EXPORTER: u8 = 0xe1;
const TYPE_END_POINT: u8 = 0xe2;
const TYPE_UNIQUE: u8 = 0xe3;
const TYPE_FIELDS: u8 = 0xe4;
const TYPE_TAKEOVER: u8 = 0xe5;
/// The longest unique id, in bytes.
const MAX_UNIQUE_ID: usize = 128;
/// How long a hash of a certificate is, in bytes: SHA-256 to SHA-512.
const END_POINT: std::ops::RangeInclusive<usize> = 32..=64;

#[cfg(test)]
mod tests;

//! What the fuzz targets share: an input as choices, bytes that say where they belong, and a count of what was
//! processed.
//!
//! A target is what must hold, in `fuzz_targets`; `make fuzz` runs them. An input is not a frame, a request or a
//! document, but a program that makes many of them, valid or not: one run then tests hundreds.

#![forbid(unsafe_code)]

// Of the ECM: these know nothing of the rest, so it need not be built.
#[allow(missing_docs, dead_code, unused_imports)]
#[path = "../../ecm/src/config/mod.rs"]
pub mod config;
mod count;
pub mod erlang;
pub mod http;
mod input;
pub mod trunk;
pub mod websocket;
pub mod xml;

pub use count::count;
pub use input::{Input, cut};

/// After so many bytes of a pattern the same come again.
pub const PERIOD: usize = 251;

/// The longest piece of a pattern.
pub const MAX_PATTERN: usize = 256 << 10;

/// The bytes of a connection from `offset` on: from them it can be told whether one is lost, doubled or another's.
#[must_use]
pub fn pattern(offset: usize, length: usize) -> &'static [u8] {
    static PATTERN: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
        let period = (0..PERIOD as u8).cycle();
        period.take(PERIOD + MAX_PATTERN).collect()
    });
    &PATTERN[offset % PERIOD..][..length]
}

//! What a call on a normal scheduler pays for its time, so that others have theirs.

use std::time::Duration;

use rustler::Env;
use rustler::schedule::consume_timeslice;

/// What one percent of a timeslice (1 ms) pays for.
const PERCENT: Duration = Duration::from_micros(10);
/// Bytes that are copied in one percent of a timeslice.
const BYTES_A_PERCENT: usize = 64 << 10;

/// Pays for the time that a call took.
pub(crate) fn charge(env: Env<'_>, elapsed: Duration) {
    pay(env, elapsed.as_micros() / PERCENT.as_micros());
}

/// Pays for bytes that are copied.
pub(crate) fn charge_bytes(env: Env<'_>, bytes: usize) {
    pay(env, (bytes / BYTES_A_PERCENT) as u128);
}

fn pay(env: Env<'_>, percent: u128) {
    if percent > 0 {
        consume_timeslice(env, i32::try_from(percent).unwrap_or(100).min(100));
    }
}

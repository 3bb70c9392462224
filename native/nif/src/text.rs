//! Bytes and text as Erlang's binaries, copied to size.

use rustler::{Env, NewBinary, Term};

/// Bytes.
pub(crate) fn binary<'a>(env: Env<'a>, bytes: &[u8]) -> Term<'a> {
    NewBinary::from_slice(env, bytes).into()
}

/// Text, as UTF-8.
pub(crate) fn text<'a>(env: Env<'a>, text: &str) -> Term<'a> {
    binary(env, text.as_bytes())
}

//! A connection's handle as Erlang has it: an integer.

use megaphone_socket::Handle;
use rustler::{Decoder, NifResult, Term};

/// A handle that came from Erlang. One that was never given out is one of a connection that is gone.
#[derive(Clone, Copy)]
pub(crate) struct SocketHandle(pub(crate) Handle);

impl<'a> Decoder<'a> for SocketHandle {
    fn decode(term: Term<'a>) -> NifResult<Self> {
        term.decode().map(|raw| Self(Handle::from_raw(raw)))
    }
}

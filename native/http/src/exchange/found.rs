//! A head, as an [`Exchange`](super::Exchange) hands it over.

use bytes::BytesMut;

use crate::edit::HeadEdit;
use crate::framing::{BodyLength, Framing};
use crate::head::Head;
use crate::inbox::ChunkedRequest;
use crate::limits::Limits;
use crate::line::ValueEnds;

/// A head that was found at the front of the pending bytes.
pub(super) struct Found {
    pub(super) framing: Framing,
    pub(super) len: usize,
    pub(super) rewritten: Rewritten,
}

/// How a head differs from what the client sent.
pub(super) enum Rewritten {
    /// It doesn't.
    No,
    /// Whitespace behind values is gone: decode_packet leaves it in, and ejabberd_http would take
    /// `Content-Length: 5 ` for no length at all.
    Tidy(BytesMut),
    /// The chunked framing will become a `Content-Length`.
    Chunked(Box<ChunkedRequest>),
}

impl Found {
    pub(super) fn of(head: &Head<'_, '_>, limits: &Limits) -> Self {
        let framing = head.framing;
        let rewritten = match (framing.body, framing.value_ends) {
            (BodyLength::Chunked, _) => {
                let mut edit = HeadEdit::new().drop("Transfer-Encoding").drop("Trailer");
                if framing.expects_continue {
                    edit = edit.drop("Expect");
                }
                let request = ChunkedRequest::new(head, &edit, limits.max_chunked_body);
                Rewritten::Chunked(Box::new(request))
            }
            (_, ValueEnds::Whitespace) => {
                let mut out = BytesMut::with_capacity(head.bytes.len());
                HeadEdit::new().write(head, &mut out);
                Rewritten::Tidy(out)
            }
            (_, ValueEnds::Tidy) => Rewritten::No,
        };
        Self {
            framing,
            len: head.bytes.len(),
            rewritten,
        }
    }
}

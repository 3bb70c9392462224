//! From a connection's bytes to documents.

use bytes::{Buf as _, Bytes};
use megaphone_xmpp::framing::{MessageError, Messages};

/// Cuts what comes from ejabberd into documents.
#[derive(Debug)]
pub struct Incoming {
    messages: Messages,
    chunk: Bytes,
}

/// What [`Incoming::next`] came to.
#[derive(Debug)]
pub struct Next {
    /// The next document; `None` if it is not whole.
    pub document: Result<Option<Bytes>, MessageError>,
    /// How many bytes that was.
    pub used: usize,
    /// Whether nothing is left, not even a part of a document.
    pub is_empty: bool,
}

impl Incoming {
    /// Documents of so many bytes at the most.
    pub fn new(max_document: u32) -> Self {
        Self {
            messages: Messages::new(usize::try_from(max_document).unwrap_or(usize::MAX)),
            chunk: Bytes::new(),
        }
    }

    /// Takes bytes, once [`next`](Self::next) has no whole document any more.
    pub fn feed(&mut self, chunk: Bytes) {
        self.chunk = chunk;
    }

    /// The next document. Of one that lies whole in what was fed it is no copy.
    pub fn next(&mut self) -> Next {
        let mut rest = &self.chunk[..];
        let read = self.messages.read(&mut rest);
        let document = read.map(|read| read.map(|document| share(&self.chunk, document)));
        let used = self.chunk.len() - rest.len();
        self.chunk.advance(used);
        Next {
            is_empty: self.chunk.is_empty() && matches!(document, Ok(Some(_))),
            document,
            used,
        }
    }
}

fn share(chunk: &Bytes, document: &[u8]) -> Bytes {
    if chunk.as_ptr_range().contains(&document.as_ptr()) {
        chunk.slice_ref(document)
    } else {
        Bytes::copy_from_slice(document)
    }
}

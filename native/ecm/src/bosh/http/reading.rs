//! A request for BOSH that is being read.

use bytes::{Bytes, BytesMut};
use megaphone_http::{BodyLength, RequestHead};

use crate::session::MAX_BEFORE_LOGIN;

/// A request whose end was not read.
#[derive(Debug)]
pub(super) struct Reading {
    pub(super) head: RequestHead,
    body: Body,
    pub(super) sender: Sender,
    /// Whether it takes no more memory than it needs.
    is_shrunk: bool,
}

/// Who sends a request, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sender {
    Unknown,
    /// A client that has logged in.
    User,
}

#[derive(Debug, Default)]
enum Body {
    #[default]
    None,
    /// It came in one piece, up to now.
    One(Bytes),
    Many(BytesMut),
}

impl Body {
    fn push(&mut self, piece: Bytes) {
        *self = match std::mem::take(self) {
            Self::None => Self::One(piece),
            Self::One(first) => {
                let mut all = BytesMut::with_capacity(2 * (first.len() + piece.len()));
                all.extend_from_slice(&first);
                all.extend_from_slice(&piece);
                Self::Many(all)
            }
            Self::Many(mut all) => {
                all.extend_from_slice(&piece);
                Self::Many(all)
            }
        };
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Self::None => &[],
            Self::One(piece) => piece,
            Self::Many(all) => all,
        }
    }
}

impl Reading {
    pub(super) const fn new(head: RequestHead) -> Self {
        Self {
            head,
            body: Body::None,
            sender: Sender::Unknown,
            is_shrunk: false,
        }
    }

    /// More of the body.
    pub(super) fn push(&mut self, piece: Bytes) {
        self.body.push(piece);
    }

    /// What has come of the body.
    pub(super) fn body(&self) -> &[u8] {
        self.body.as_bytes()
    }

    /// Bytes of the body that have come.
    pub(super) fn body_bytes(&self) -> usize {
        self.body.as_bytes().len()
    }

    /// Bytes of memory.
    pub(super) fn held(&self) -> usize {
        let body = match &self.body {
            Body::None => 0,
            Body::One(piece) => piece.len(),
            Body::Many(all) => all.capacity(),
        };
        self.head.as_bytes().len() + body
    }

    /// Gives back the memory of what was read with it, when it has to wait for more.
    pub(super) fn shrink(&mut self) {
        if !self.is_shrunk {
            self.is_shrunk = true;
            self.head.detach();
            if let Body::One(piece) = &self.body {
                self.body = Body::One(Bytes::copy_from_slice(piece));
            }
        }
    }

    /// Whether it is too large for somebody who may be anybody.
    pub(super) fn is_large(&self) -> bool {
        let announced = match self.head.body() {
            BodyLength::Length(length) => length,
            BodyLength::None | BodyLength::Chunked => 0,
        };
        announced.max(self.body_bytes() as u64) > MAX_BEFORE_LOGIN as u64
    }
}

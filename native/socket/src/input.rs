//! The bytes that came for a connection and wait until a process asks for them.

use std::sync::Arc;

use bytes::{Buf, Bytes, BytesMut};
use megaphone_http::{Exchange, Limits};
use megaphone_trunk::copy::append;

use crate::origin::Content;

/// A connection's input. An idle connection has no buffer: it is made by the first byte and
/// given back after the last.
pub(crate) enum Input {
    /// The start of a version 2 stream: its PROXY header, not whole yet.
    Preface(Box<BytesMut>),
    Idle(Content),
    Raw(Box<BytesMut>),
    Http(Box<Exchange>),
}

impl Input {
    pub(crate) fn receive(&mut self, limits: &Arc<Limits>, data: &[u8]) {
        if let Self::Idle(content) = self {
            *self = match content {
                Content::Raw => Self::Raw(Box::default()),
                Content::Http => Self::Http(Box::new(Exchange::new(Arc::clone(limits)))),
            };
        }
        match self {
            Self::Idle(_) => {}
            Self::Preface(buffer) | Self::Raw(buffer) => append(&mut **buffer, data),
            Self::Http(exchange) => exchange.receive(data),
        }
    }

    /// The server's answer passes by; it decides when the next request is due.
    pub(crate) fn answer(&mut self, limits: &Arc<Limits>, data: &[u8]) {
        // An answer to nothing is one that the exchange has to judge.
        if matches!(self, Self::Idle(Content::Http)) {
            *self = Self::Http(Box::new(Exchange::new(Arc::clone(limits))));
        }
        if let Self::Http(exchange) = self {
            exchange.send(data);
        }
        self.give_back();
    }

    /// What the connection itself has to say to the client: `100 Continue`, a refusal.
    pub(crate) fn take_reply(&mut self) -> Option<Bytes> {
        match self {
            Self::Http(exchange) => exchange.take_reply(),
            _ => None,
        }
    }

    /// Whether the connection ends, by a refusal or after its last answer.
    pub(crate) fn must_close(&self) -> bool {
        matches!(self, Self::Http(exchange) if exchange.must_close())
    }

    /// The name of the fault for which the last request was refused.
    pub(crate) fn refusal(&self) -> Option<&'static str> {
        match self {
            Self::Http(exchange) => exchange.refusal().map(|error| error.name()),
            _ => None,
        }
    }

    /// Whether a reader has had all that it will ever get, though the peer hasn't closed.
    pub(crate) fn at_end(&self) -> bool {
        matches!(self, Self::Http(exchange) if exchange.at_end())
    }

    /// What a reader may have now, in one piece.
    pub(crate) fn peek(&self) -> &[u8] {
        match self {
            Self::Idle(_) | Self::Preface(_) => &[],
            Self::Raw(buffer) => buffer,
            Self::Http(exchange) => exchange.peek(),
        }
    }

    /// What a reader that takes what there is gets: never a head and its body together.
    pub(crate) fn piece(&self) -> &[u8] {
        match self {
            Self::Http(exchange) => exchange.piece(),
            _ => self.peek(),
        }
    }

    pub(crate) fn consume(&mut self, length: usize) {
        match self {
            Self::Idle(_) | Self::Preface(_) => {}
            Self::Raw(buffer) => buffer.advance(length.min(buffer.len())),
            Self::Http(exchange) => exchange.consume(length),
        }
        self.give_back();
    }

    /// The peer sends no more.
    pub(crate) fn finish(&mut self) {
        if let Self::Http(exchange) = self {
            exchange.finish_input();
        }
        self.give_back();
    }

    /// Whether more bytes are needed before a reader gets any: they are collected meanwhile.
    pub(crate) fn wants_input(&self) -> bool {
        match self {
            Self::Preface(_) => true,
            Self::Http(exchange) => exchange.wants_input(),
            _ => false,
        }
    }

    /// All bytes held, those of later requests included.
    pub(crate) fn buffered(&self) -> usize {
        match self {
            Self::Idle(_) => 0,
            Self::Preface(buffer) | Self::Raw(buffer) => buffer.len(),
            Self::Http(exchange) => exchange.buffered(),
        }
    }

    /// Whether a request was handed over, wholly or in part, and isn't answered yet.
    pub(crate) fn in_flight(&self) -> bool {
        match self {
            Self::Http(exchange) => exchange.in_flight(),
            _ => false,
        }
    }

    /// Whether the connection is between two HTTP requests.
    pub(crate) fn between_requests(&self) -> bool {
        matches!(self, Self::Idle(Content::Http))
    }

    /// Drops what waits; nothing more is taken.
    pub(crate) fn clear(&mut self) {
        *self = Self::Idle(Content::Raw);
    }

    fn give_back(&mut self) {
        match self {
            Self::Raw(buffer) if buffer.is_empty() => *self = Self::Idle(Content::Raw),
            Self::Http(exchange) if exchange.is_raw() && exchange.buffered() == 0 => {
                *self = Self::Idle(Content::Raw);
            }
            Self::Http(exchange) if exchange.is_idle() => *self = Self::Idle(Content::Http),
            _ => {}
        }
    }
}

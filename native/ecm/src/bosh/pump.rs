//! Between a session and its stream in a trunk.

use std::time::Instant;

use bytes::Bytes;

use super::session::Session;

/// The way to ejabberd and back: documents of RFC 7395.
pub trait Stream {
    /// Sends a document, all of it or nothing.
    fn send(&mut self, document: &[u8]) -> Sending;
    /// The next document from there.
    fn next(&mut self) -> Coming;
}

/// What became of a document for ejabberd.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sending {
    /// It is on its way.
    Sent,
    /// ejabberd takes no more for now.
    Refused,
    /// It can't be sent: [`Stream::next`] says why, if there is anything to say.
    Lost,
}

/// What comes from ejabberd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Coming {
    /// A document.
    Document(Bytes),
    /// Nothing now.
    Nothing,
    /// Nothing more.
    Ended,
}

/// Moves all that can be moved without waiting, and answers what can be answered.
pub fn pump(session: &mut Session, stream: &mut impl Stream, now: Instant) {
    // Each round takes a request, sends its payload or answers one; there are few.
    loop {
        let advanced = session.advance(now);
        let had_outgoing = session.outgoing().is_some();
        let mut lost = flush(session, stream) == Sending::Lost;
        let flushed = had_outgoing && session.outgoing().is_none();
        while session.wants_document() {
            match stream.next() {
                Coming::Document(document) => session.document(document, now),
                Coming::Nothing => break,
                Coming::Ended => {
                    lost = true;
                    break;
                }
            }
        }
        if lost {
            session.lose(now);
        }
        let answered = session.settle(now);
        if !(advanced || flushed || answered) {
            return;
        }
    }
}

fn flush(session: &mut Session, stream: &mut impl Stream) -> Sending {
    while let Some(document) = session.outgoing() {
        match stream.send(document) {
            Sending::Sent => session.outgoing_taken(),
            other => return other,
        }
    }
    Sending::Sent
}

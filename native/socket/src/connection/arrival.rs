//! What comes from the peer, up to the input that the owner reads from.

use super::{Connection, Incoming, Linked, Surroundings};
use crate::input::Input;
use crate::origin::{self, Protocol};
use crate::sink::Sink;

/// What came of bytes from the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// Bytes, for the owner or for nobody.
    Data,
    /// The end of a stream's PROXY header, which says what it carries: now it can have an owner.
    Introduced(Protocol),
}

impl<P: Copy + Eq> Connection<P> {
    /// Bytes from the peer.
    pub(crate) fn receive<S: Sink<P>>(
        &mut self,
        around: &mut Surroundings<'_, S>,
        data: &[u8],
    ) -> Received {
        self.last_active = around.now;
        if self.linked != Linked::Open || self.incoming != Incoming::Open {
            return Received::Data;
        }
        self.received.count(data.len());
        if around.link.has_windows() {
            self.unreturned = self.unreturned.saturating_add(data.len());
        }
        if let Input::Preface(_) = self.input {
            return self.introduce(around, data);
        }
        self.change_input(around, |input, config| input.receive(&config.http, data));
        self.reply(around);
        self.pump(around);
        Received::Data
    }

    /// More of a stream's PROXY header, and what follows it.
    pub(super) fn introduce<S: Sink<P>>(
        &mut self,
        around: &mut Surroundings<'_, S>,
        data: &[u8],
    ) -> Received {
        self.change_input(around, |input, config| input.receive(&config.http, data));
        let Input::Preface(buffer) = &mut self.input else {
            return Received::Data;
        };
        match origin::read(buffer) {
            Ok(None) => Received::Data,
            Ok(Some(preface)) => {
                let header = preface.length.min(buffer.len());
                self.protocol = preface.protocol;
                self.origin = preface.origin.map(Box::new);
                self.once = preface.once;
                if self.protocol == Protocol::XmppFraming {
                    around.counters.session_came(self.origin());
                }
                self.change_input(around, |input, config| {
                    let content = Input::Idle(preface.protocol.content());
                    if let Input::Preface(buffer) = std::mem::replace(input, content)
                        && buffer.len() > header
                    {
                        input.receive(&config.http, &buffer[header..]);
                    }
                });
                self.reply(around);
                Received::Introduced(preface.protocol)
            }
            Err(error) => {
                around.counters.count_error(error.name());
                around.link.reject(&self.key);
                around.wrote = true;
                self.linked = Linked::Gone;
                self.release(around);
                Received::Data
            }
        }
    }

    /// The peer's FIN: it sends no more, and may still read. True if the owner is busy with a
    /// request and won't notice.
    pub(crate) fn peer_finished<S: Sink<P>>(&mut self, around: &mut Surroundings<'_, S>) -> bool {
        let busy = self.is_busy();
        self.change_input(around, |input, _| input.finish());
        self.reply(around);
        self.end_input(around, Incoming::Finished);
        busy
    }

    /// Sends what the HTTP exchange itself has to say, and closes after its end.
    pub(super) fn reply<S: Sink<P>>(&mut self, around: &mut Surroundings<'_, S>) {
        while let Some(reply) = self.input.take_reply() {
            // Refused only where a client reads nothing of a large answer: the close says enough.
            let _ = self.write(around, &reply);
        }
        if self.input.must_close() {
            if let Some(kind) = self.input.refusal() {
                around.counters.count_error(kind);
            }
            self.clear_input(around);
            self.incoming = Incoming::Finished;
            self.close_link(around);
        }
    }
}

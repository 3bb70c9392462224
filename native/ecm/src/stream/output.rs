//! From the session to its client.

use megaphone_xmpp::framing::Kind;
use megaphone_xmpp::stream::Writer;
use megaphone_xmpp::{Condition, Open};

use super::features::{Offer, with_offer};
use super::{Client, Ending, Moved, Stage};
use crate::config::StartTls;
use crate::session::{Cause, Received, Session, outlet};
use crate::trunk::End;

/// The most that is written at once.
const BATCH: usize = 16 * 1024;

impl Client {
    /// Gives the socket what is due.
    pub(super) fn write_output(&mut self) -> Moved {
        let written = self.outlet.flush(&mut self.downstream.socket);
        self.deadlines.output(written);
        written.moved()
    }

    /// Takes what comes next for the client, once its socket has taken all before.
    pub(super) fn next_output(&mut self) -> Moved {
        if self.outlet.has_unsent(&self.downstream.socket)
            || self.outlet.is_full()
            || self.ending.is_some()
        {
            return Moved::No;
        }
        outlet::with_batch(|batch| {
            let mut taken = Moved::No;
            let mut end = None;
            while batch.bytes.len() < BATCH && self.ending.is_none() {
                match self
                    .session
                    .as_mut()
                    .map_or(Received::Nothing, |it| it.next())
                {
                    Received::Document(document) => {
                        self.write_document(&mut batch.bytes, &document);
                        batch.ends(document);
                    }
                    Received::End(received) => {
                        end = Some(received);
                        break;
                    }
                    Received::Nothing => break,
                }
                taken = Moved::Yes;
            }
            if taken == Moved::Yes {
                let written = self.outlet.write(&mut self.downstream.socket, batch);
                self.deadlines.output(written);
            }
            if let Some(end) = end {
                self.session_ended(end);
                taken = Moved::Yes;
            }
            taken
        })
    }

    /// A document of this program's own.
    pub(super) fn say(&mut self, document: &[u8]) {
        let mut out = Vec::new();
        self.writer.write(&mut out, document);
        self.outlet.append(&out);
    }

    fn write_document(&mut self, out: &mut Vec<u8>, document: &[u8]) {
        let before_login = matches!(self.stage, Stage::Negotiating | Stage::Authenticating);
        if before_login && Kind::of(document) == Some(Kind::Features) {
            let offer = match self.start_tls {
                StartTls::Optional => Offer::Optional,
                StartTls::Off | StartTls::Required => Offer::Nothing,
            };
            self.writer.write(out, &with_offer(document, offer));
            return;
        }
        match self.writer.write(out, document) {
            Some(Kind::Close { .. }) => {
                self.cause = Some(Cause::Closed);
                self.ending = Some(Ending::Close);
            }
            Some(kind)
                if before_login && self.session.as_ref().is_some_and(Session::is_logged_in) =>
            {
                // Both sides begin their streams anew (RFC 6120, section 6.4.6).
                if kind == Kind::Success {
                    self.reader.restart();
                    self.writer = Writer::new();
                }
                self.logged_in();
            }
            Some(Kind::Challenge | Kind::Failure) if before_login => {
                self.stage = Stage::Negotiating;
            }
            Some(_) => {}
            None => {
                tracing::error!(peer = %self.peer, "ejabberd sent something that is not a document");
            }
        }
    }

    fn session_ended(&mut self, end: End) {
        tracing::debug!(peer = %self.peer, "the session ended: {end:?}");
        if end == End::Overflowed {
            // The others end on ejabberd's side; this was done here.
            self.cause = Some(Cause::SlowReader);
        } else {
            self.session = None;
        }
        match end {
            End::Closed if self.stage == Stage::Closing => self.end(Cause::Closed),
            // ejabberd closes the stream first if all is well: no client may take this for that.
            End::Closed => self.fail(
                Condition::RemoteConnectionFailed,
                "the server ended the session; connect again",
            ),
            End::TrunkLost | End::Reset | End::Overflowed => self.fail(
                Condition::RemoteConnectionFailed,
                "the connection to the server was lost; connect again",
            ),
        }
    }

    /// A keepalive (RFC 6120, section 4.6.1).
    pub(super) fn write_keepalive(&mut self) {
        if self.outlet.is_empty() {
            self.outlet.append(b" ");
        }
    }

    /// The header of a stream that no session answers (RFC 6120, section 4.7).
    pub(super) fn write_header(&mut self, out: &mut Vec<u8>, open: &Open<'_>) {
        let mut document = Vec::new();
        let id = getrandom::u64().unwrap_or_default();
        Open {
            id: Some(format!("{id:016x}").into()),
            version: Some("1.0".into()),
            lang: Some("en".into()),
            ..open.clone()
        }
        .write_document(&mut document);
        self.writer.write(out, &document);
    }
}

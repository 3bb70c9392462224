//! From the session to its client.

use bytes::Bytes;
use megaphone_xmpp::framing::{self, Kind};
use megaphone_xmpp::stream::Writer;
use megaphone_xmpp::{Condition, Open};

use super::features::{Offer, with_offer};
use super::{Client, Ending, Moved, Stage};
use crate::config::StartTls;
use crate::session::Received;
use crate::trunk::End;

/// How much is written at once, if there is so much.
const BATCH: usize = 16 * 1024;

impl Client {
    /// Gives the socket what is due.
    pub(super) fn write_output(&mut self) -> Result<Moved, Ending> {
        let written = self.socket.write_due(&mut self.output);
        let written = written.map_err(|error| self.left(&error))?;
        self.deadlines.output(written);
        Ok(written.moved())
    }

    /// Takes what comes next for the client, once its socket has taken all before.
    pub(super) fn next_output(&mut self) -> Moved {
        if !self.output.is_empty() || self.socket.has_unsent() || self.ending.is_some() {
            return Moved::No;
        }
        let mut out = Vec::new();
        while out.len() < BATCH && self.ending.is_none() {
            match self
                .session
                .as_mut()
                .map_or(Received::Nothing, |it| it.next())
            {
                Received::Document(document) => self.write_document(&mut out, &document),
                Received::End(end) => {
                    self.output = out.into();
                    self.session_ended(end);
                    return Moved::Yes;
                }
                Received::Nothing => break,
            }
        }
        match out.is_empty() {
            true => Moved::No,
            false => {
                self.output = out.into();
                Moved::Yes
            }
        }
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
            Some(Kind::Close { .. }) => self.ending = Some(Ending::Close),
            Some(kind) if before_login && kind.shows_login() => {
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
            None => tracing::error!(peer = %self.peer, "ejabberd sent what is no document"),
        }
    }

    fn session_ended(&mut self, end: End) {
        tracing::debug!(peer = %self.peer, "the session ended: {end:?}");
        self.session = None;
        match end {
            End::Closed if self.stage == Stage::Closing => self.end(),
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

    /// Closes the stream, if that was not done, and then the connection.
    pub(super) fn end(&mut self) {
        let mut close = Vec::new();
        framing::write_close(&mut close);
        let mut out = Vec::from(std::mem::take(&mut self.output));
        self.writer.write(&mut out, &close);
        self.output = out.into();
        if let Some(mut session) = self.session.take() {
            // If it is refused, the end of the connection says it too.
            let _ = session.try_send(&close);
        }
        self.ending = Some(Ending::Close);
    }

    /// A keepalive (RFC 6120, section 4.6.1).
    pub(super) fn write_keepalive(&mut self) {
        if self.output.is_empty() {
            self.output = Bytes::from_static(b" ");
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

//! How a client's connection comes to its end.
//!
//! | what happens | the client gets | the session ends as |
//! |---|---|---|
//! | `<close/>` both ways | close 1000 | [`Cause::Closed`] |
//! | a close frame alone | its close frame back | [`Cause::Left`] |
//! | the client's TCP connection breaks | | [`Cause::Left`] |
//! | frames that can't be read | close 1002 or 1007 | [`Cause::Unreadable`] |
//! | documents that can't be taken, deadlines | a stream error, `<close/>`, close 1007, 1008 or 1009 | [`Cause::Refused`] |
//! | silence | a stream error, `<close/>`, close 1001 | [`Cause::Silent`] |
//! | output is not taken | a reset | [`Cause::SlowReader`] |
//! | it has to go with what it sent | a reset | [`Cause::Flooded`] |
//! | the program ends | `<system-shutdown/>`, `<close/>`, close 1001 | [`Cause::Shutdown`] |
//! | the session or its trunk is lost | `<remote-connection-failed/>`, `<close/>`, close 1001 or 1011 | |
//!
//! The session is left when the client has got what was due to it, or as the connection ends: what the client
//! did not get goes back to ejabberd. A client that did nothing wrong may not know of the end yet: what it
//! sends until it does is still taken.

use megaphone_xmpp::Condition;

use super::state::{Client, ReadyState};
use crate::metrics::{REFUSALS, Reason};
use crate::peer::Moved;
use crate::session::{Cause, Left};
use crate::trunk::End;
use crate::websocket::close::{CloseCode, put_close};
use crate::websocket::error::FrameError;
use crate::websocket::frame::{Opcode, put_frame};

impl Client {
    /// The client's fault: its stream ends with an error, for ejabberd too.
    pub(super) fn refuse(&mut self, condition: Condition, text: &str, code: CloseCode) {
        self.refuse_for(Reason::of(condition), condition, text, code);
    }

    /// As [`refuse`](Self::refuse), but counted for this reason.
    pub(super) fn refuse_for(
        &mut self,
        reason: Option<Reason>,
        condition: Condition,
        text: &str,
        code: CloseCode,
    ) {
        count(reason);
        tracing::debug!("a WebSocket client is refused: {text}");
        self.cause.get_or_insert(Cause::Refused);
        self.say_error(condition, text, code);
    }

    /// The client's frames can't be read: no document would be right here.
    pub(super) fn fail(&mut self, error: &FrameError) {
        count(Some(Reason::BadFrame));
        tracing::debug!("a WebSocket client is refused: {error}");
        self.cause.get_or_insert(Cause::Unreadable);
        let mut last = Vec::new();
        put_close(&mut last, CloseCode::of_error(error), &error.to_string());
        self.say_last(&last);
        self.ready_state = ReadyState::Closed;
    }

    /// The client is not there any more, or was not heard of.
    pub(super) fn give_up(&mut self, text: &str) {
        count(Some(Reason::Timeout));
        self.cause.get_or_insert(Cause::Silent);
        self.say_error(Condition::ConnectionTimeout, text, CloseCode::GOING_AWAY);
    }

    /// The program ends.
    pub(super) fn shut_down(&mut self) {
        if self.ready_state == ReadyState::Open {
            self.cause.get_or_insert(Cause::Shutdown);
            let text = "this server is shutting down; connect again";
            self.say_error(Condition::SystemShutdown, text, CloseCode::GOING_AWAY);
        }
    }

    /// ejabberd sends no more.
    pub(super) fn session_ended(&mut self, end: End) {
        if end == End::Overflowed {
            // The others end on ejabberd's side; this was done here.
            self.cause = Some(Cause::SlowReader);
        } else {
            self.session = None;
            self.held = None;
        }
        if self.xmpp.is_closed_by_server() {
            let mut last = Vec::new();
            put_close(&mut last, CloseCode::NORMAL, "");
            self.say_last(&last);
            return;
        }
        count(Some(Reason::ConnectionLost));
        let (text, code) = match end {
            End::TrunkLost => (
                "the connection to the server was lost",
                CloseCode::GOING_AWAY,
            ),
            End::Closed | End::Reset | End::Overflowed => {
                ("the server ended the session", CloseCode::INTERNAL_ERROR)
            }
        };
        self.say_error(Condition::RemoteConnectionFailed, text, code);
    }

    /// The client has sent a close frame: it gets the same.
    pub(super) fn answer_close(&mut self, code: Option<CloseCode>) {
        if self.ready_state == ReadyState::Open {
            let mut last = Vec::new();
            match code {
                Some(code) => put_close(&mut last, code, ""),
                None => put_frame(&mut last, Opcode::Close, b""),
            }
            self.say_last(&last);
        }
        self.ready_state = ReadyState::Closed;
    }

    /// Leaves the session of a client that has got what was due to it, and whose words count no more.
    pub(super) fn leave_if_done(&mut self) -> Moved {
        let hears_on = self.cause.is_none_or(Cause::hears_on);
        if self.ready_state == ReadyState::Open || hears_on || !self.outlet.is_empty() {
            return Moved::No;
        }
        self.leave_session()
    }

    /// Leaves the session, if there is one.
    pub(super) fn leave_session(&mut self) -> Moved {
        let unsent = self.take_unsent();
        let Some(session) = self.session.take() else {
            return Moved::No;
        };
        let cause = match self.cause {
            _ if self.xmpp.is_closed_by_client() => Cause::Closed,
            Some(cause) => cause,
            None if self.xmpp.is_closed_by_server() => Cause::Closed,
            None => Cause::Left,
        };
        let left = Left::of(unsent, &mut self.outlet);
        session.leave(cause, left, &self.registries.backlogs);
        Moved::Yes
    }

    fn say_error(&mut self, condition: Condition, text: &str, code: CloseCode) {
        let mut last = Vec::new();
        for document in self.xmpp.error(condition, text) {
            put_frame(&mut last, Opcode::Text, &document);
        }
        put_close(&mut last, code, text);
        self.say_last(&last);
    }

    fn say_last(&mut self, bytes: &[u8]) {
        self.outlet.append(bytes);
        self.unopened = None;
        self.pong = None;
        self.ready_state = ReadyState::Closing;
        self.clock.closing();
    }
}

fn count(reason: Option<Reason>) {
    if let Some(reason) = reason {
        REFUSALS.of(reason).add(1);
    }
}

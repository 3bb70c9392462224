//! How a client's connection comes to its end.
//!
//! | what happens | the client gets | ejabberd gets |
//! |---|---|---|
//! | `<close/>` both ways | close 1000 | FIN |
//! | a close frame alone, or the client's TCP connection breaks | its close frame back | a reset: a stream that can be resumed |
//! | frames that can't be read | close 1002 or 1007 | a reset |
//! | documents that can't be taken, deadlines | a stream error, `<close/>`, close 1007, 1008 or 1009 | `<close/>`, FIN |
//! | silence | a stream error, `<close/>`, close 1001 | a reset |
//! | the session or its trunk is lost | `<remote-connection-failed/>`, `<close/>`, close 1001 or 1011 | |
//! | the program ends | `<system-shutdown/>`, `<close/>`, close 1001 | a reset |

use megaphone_xmpp::{Condition, framing};

use super::{Client, Stage};
use crate::metrics::{REFUSALS, Reason};
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
        if let Some(mut session) = self.session.take() {
            let mut close = Vec::new();
            framing::write_close(&mut close);
            // If it can't be sent, the end of the connection has to do.
            let _ = session.try_send(&close);
        }
        self.say_error(condition, text, code);
    }

    /// The client's frames can't be read: no document would be right here.
    pub(super) fn fail(&mut self, error: &FrameError) {
        count(Some(Reason::BadFrame));
        tracing::debug!("a WebSocket client is refused: {error}");
        self.break_session();
        let mut last = Vec::new();
        put_close(&mut last, error.close_code(), &error.to_string());
        self.say_last(&last);
        self.stage = Stage::Closed;
    }

    /// The client is not there any more, or was not heard of.
    pub(super) fn give_up(&mut self, text: &str) {
        count(Some(Reason::Timeout));
        self.break_session();
        self.say_error(Condition::ConnectionTimeout, text, CloseCode::GOING_AWAY);
    }

    /// The program ends.
    pub(super) fn shut_down(&mut self) {
        if self.stage == Stage::Serving {
            self.break_session();
            let text = "this server goes down; connect again";
            self.say_error(Condition::SystemShutdown, text, CloseCode::GOING_AWAY);
        }
    }

    /// ejabberd sends no more.
    pub(super) fn session_ended(&mut self, end: End) {
        self.session = None;
        self.held = None;
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
        if self.stage == Stage::Serving {
            self.leave_session();
            let mut last = Vec::new();
            match code {
                Some(code) => put_close(&mut last, code, ""),
                None => put_frame(&mut last, Opcode::Close, b""),
            }
            self.say_last(&last);
        }
        self.stage = Stage::Closed;
    }

    /// Gives the session up: in order if the stream was closed, else as broken, so that it can be resumed.
    pub(super) fn leave_session(&mut self) {
        match self.session.take() {
            Some(session) if !self.xmpp.is_closed() => session.abort(),
            _ => {}
        }
    }

    fn break_session(&mut self) {
        if let Some(session) = self.session.take() {
            session.abort();
        }
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
        self.queue(bytes);
        self.unopened = None;
        self.held = None;
        self.pong = None;
        self.stage = Stage::Closing;
        self.timing.closing();
    }
}

fn count(reason: Option<Reason>) {
    if let Some(reason) = reason {
        REFUSALS.of(reason).add(1);
    }
}

//! A session among the numbers of all, and its login among those that go on.

use std::task::{Context, Poll};
use std::time::Instant;

use megaphone_trunk::proxy::Transport;
use megaphone_xmpp::framing::is_login_step;

use super::login::{LoginProgress, LoginStep};
use crate::metrics::{
    DOCUMENT_BYTES, DOCUMENTS, Direction, LOGIN_FAILURES, LOGIN_TIMES, LOGINS, SESSIONS,
    SESSIONS_OPENED,
};
use crate::node::{Login, Turn};

/// Counts a session, until it is dropped, and its login.
#[derive(Debug)]
pub struct Counted {
    transport: Transport,
    /// Nothing before ejabberd was told of it.
    progress: Option<LoginProgress>,
}

/// The login of a session, until its client is online, or may be. It stands beside [`Counted`], as the two together
/// leave more room free.
#[derive(Debug, Default)]
pub struct Running(Option<Box<Begun>>);

/// What has to be known of a document before it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It is no step of a login.
    None,
    /// It is one, which the login has a turn for, or waits with.
    Of(Turn),
}

impl Running {
    /// Takes a turn for this document, if ejabberd will have to answer it for the login to go on.
    pub fn take_turn(&mut self, document: &[u8]) -> Step {
        match &mut self.0 {
            Some(begun) if is_login_step(document) => Step::Of(begun.login.take_turn()),
            _ => Step::None,
        }
    }

    /// The document can't be sent now.
    pub fn give_back(&mut self) {
        if let Some(begun) = &mut self.0 {
            begun.login.give_back();
        }
    }

    /// Whether a document waits for the login's turn.
    pub fn waits(&self) -> bool {
        self.0.as_ref().is_some_and(|begun| begun.login.waits())
    }

    /// Ready once a document that waited can be sent; else the task that polled last is woken when it can.
    pub fn poll_step(&mut self, context: &Context<'_>) -> Poll<()> {
        match &mut self.0 {
            Some(begun) => begun.login.poll_step(context),
            None => Poll::Pending,
        }
    }
}

#[derive(Debug)]
struct Begun {
    login: Login,
    at: Instant,
}

impl Counted {
    /// A session that is not open.
    pub const fn new(transport: Transport) -> Self {
        Self {
            transport,
            progress: None,
        }
    }

    /// It is open, for this login.
    pub fn opened(&mut self, login: Login) -> Running {
        self.progress = Some(LoginProgress::default());
        SESSIONS.of(self.transport).add(1);
        SESSIONS_OPENED.of(self.transport).add(1);
        let at = Instant::now();
        Running(Some(Box::new(Begun { login, at })))
    }

    /// ejabberd has sent a document.
    pub fn server_sent(&mut self, document: &[u8], Running(running): &mut Running) {
        DOCUMENTS.of(Direction::Out).add(1);
        DOCUMENT_BYTES.of(Direction::Out).add(document.len() as u64);
        let Some(progress) = &mut self.progress else {
            return;
        };
        let step = progress.server_sent(document);
        if step != LoginStep::None
            && let Some(begun) = running
        {
            begun.login.decided();
        }
        match step {
            LoginStep::None => {}
            LoginStep::Failed => LOGIN_FAILURES.of(self.transport).add(1),
            LoginStep::LoggedIn => {
                if let Some(begun) = running {
                    LOGIN_TIMES.observe(begun.at.elapsed());
                }
                LOGINS.of(self.transport).add(1);
            }
        }
        if *progress == LoginProgress::Online {
            if let Some(begun) = running.take() {
                begun.login.done();
            }
        } else if let Some(begun) = running {
            match step {
                LoginStep::Failed => begun.login.failed(),
                LoginStep::None | LoginStep::LoggedIn => begun.login.answered(),
            }
        }
    }

    /// A document of this many bytes was sent to ejabberd.
    pub fn client_sent(bytes: usize, step: Step, Running(running): &mut Running) {
        DOCUMENTS.of(Direction::In).add(1);
        DOCUMENT_BYTES.of(Direction::In).add(bytes as u64);
        match (running, step) {
            (Some(begun), Step::Of(_)) => begun.login.asked(bytes),
            (Some(begun), Step::None) => begun.login.said(bytes),
            (None, _) => {}
        }
    }

    /// How far its login has come.
    pub fn progress(&self) -> LoginProgress {
        self.progress.unwrap_or_default()
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if self.progress.is_some() {
            SESSIONS.of(self.transport).subtract_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::{Nodes, testing};

    /// A login whose session is open.
    fn opened(nodes: &Nodes) -> Login {
        let mut login = nodes.begin_login();
        assert!(login.open(&testing::opening()).is_some());
        login
    }

    #[test]
    fn a_login_goes_on_until_its_client_is_online() {
        let success = "<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>";
        let success2 =
            |inside: &str| format!("<success xmlns='urn:xmpp:sasl:2'>{inside}</success>");
        let result = "<iq xmlns='jabber:client' type='result'/>";
        for (documents, goes_on) in [
            (&["<open/>", "<stream:features/>", "<challenge/>"][..], true),
            (
                &["<failure xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>"],
                true,
            ),
            (&[success, "<open/>", "<stream:features/>"], true),
            (&[success, result], false),
            (&[success, "<resumed xmlns='urn:xmpp:sm:3' h='1'/>"], false),
            (&[success, "<failed xmlns='urn:xmpp:sm:3'/>"], true),
            (&[&success2("<a/>")], true),
            (&[&success2("<bound xmlns='urn:xmpp:bind:0'/>")], false),
            (&[&success2("<boundary/>")], true),
            (
                &[&success2("<resumed xmlns='urn:xmpp:sm:3' h='1'/>")],
                false,
            ),
            // Of a legacy login, of which the first result is not the last (XEP-0078).
            (&[result, result], true),
            (&[result, "<presence xmlns='jabber:client'/>"], false),
        ] {
            let (nodes, _ejabberd) = testing::start_with(1);
            let mut counted = Counted::new(Transport::WebSocket);
            let mut running = counted.opened(opened(&nodes));
            for document in documents {
                counted.server_sent(document.as_bytes(), &mut running);
            }
            Counted::client_sent(1, Step::Of(Turn::Its), &mut running);
            let running = nodes.logins().running;
            assert_eq!(running == 1, goes_on, "{documents:?}");
        }
    }

    #[test]
    fn a_login_ends_with_its_session() {
        let (nodes, _ejabberd) = testing::start_with(1);
        let mut counted = Counted::new(Transport::Tcp);
        let running = counted.opened(opened(&nodes));
        drop((counted, running));
        assert_eq!(nodes.logins().running, 0);
    }
}

//! ejabberd's answers on one connection: which request each one is for, and where it ends. Sans-IO.

use std::collections::VecDeque;

use megaphone_http::{Progress, RequestKind, ResponseTracker};

use super::requests::Asked;

/// Follows the answers while they pass by.
#[derive(Debug, Default)]
pub struct Answers {
    tracker: ResponseTracker,
    /// The request whose answer comes next, or is coming.
    current: Option<Asked>,
    /// The requests that were sent after it, with their lengths in bytes.
    waiting: VecDeque<(Asked, usize)>,
    /// The sum of these lengths.
    waiting_bytes: usize,
    /// The connection no longer speaks HTTP, or never did.
    is_raw: bool,
}

/// What to do with a piece of output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Followed {
    /// How many of its bytes are for the client. The rest, after the last answer, is for nobody.
    pub relay: usize,
    /// What these bytes brought.
    pub then: Then,
}

/// What a piece of output brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Nothing that changes anything.
    GoOn,
    /// The connection speaks another protocol from here on.
    SwitchToRaw,
    /// The last answer that the client gets on this connection is complete.
    Close,
}

impl Answers {
    /// For a connection that never spoke HTTP.
    pub fn raw() -> Self {
        Self {
            is_raw: true,
            ..Self::default()
        }
    }

    /// A request's first `length` bytes were sent.
    pub fn asked(&mut self, asked: Asked, length: usize) {
        if self.current.is_none() {
            self.start(asked);
        } else {
            self.waiting.push_back((asked, length));
            self.waiting_bytes += length;
        }
    }

    /// More bytes of the last request were sent.
    pub fn sent_more(&mut self, length: usize) {
        if let Some((_, sent)) = self.waiting.back_mut() {
            *sent += length;
            self.waiting_bytes += length;
        }
    }

    /// Bytes of requests that were sent before the answer to the one before them was complete.
    pub const fn waiting_bytes(&self) -> usize {
        self.waiting_bytes
    }

    /// Whether each request has its answer.
    pub const fn is_idle(&self) -> bool {
        self.current.is_none()
    }

    /// Whether the connection no longer speaks HTTP.
    pub const fn is_raw(&self) -> bool {
        self.is_raw
    }

    /// Whether a byte of the answer that is due has come, so that no other answer can be given.
    pub fn has_begun(&self) -> bool {
        self.tracker.began()
    }

    /// The kind of the request whose answer is due.
    pub fn due(&self) -> Option<RequestKind> {
        self.current.map(|asked| asked.kind)
    }

    /// Gives up the last request: its end will not be sent.
    pub fn abandon_last(&mut self) -> Abandoned {
        if let Some((_, length)) = self.waiting.pop_back() {
            self.waiting_bytes -= length;
        } else if self.has_begun() {
            return Abandoned::AnswerHasBegun;
        } else {
            self.current = None;
        }
        Abandoned::Unanswered
    }

    /// Looks at the next bytes from ejabberd.
    pub fn follow(&mut self, data: &[u8]) -> Followed {
        let mut at = 0;
        while at < data.len() && !self.is_raw() {
            match self.tracker.follow(&data[at..]) {
                Progress::Within | Progress::UntilClose => break,
                Progress::Upgraded { consumed: _ } => {
                    self.is_raw = true;
                    return Followed {
                        relay: data.len(),
                        then: Then::SwitchToRaw,
                    };
                }
                Progress::Complete { consumed } => {
                    at += consumed;
                    if self.complete() == Then::Close {
                        return Followed {
                            relay: at,
                            then: Then::Close,
                        };
                    }
                }
            }
        }
        Followed {
            relay: data.len(),
            then: Then::GoOn,
        }
    }

    fn complete(&mut self) -> Then {
        let wants_more = self.current.take().is_some_and(|asked| asked.keep_alive);
        if !wants_more || self.tracker.closes() {
            return Then::Close;
        }
        match self.waiting.pop_front() {
            Some((asked, length)) => {
                self.waiting_bytes -= length;
                self.start(asked);
            }
            None => self.waiting = VecDeque::new(),
        }
        Then::GoOn
    }

    fn start(&mut self, asked: Asked) {
        self.tracker.start(asked.kind);
        self.current = Some(asked);
    }
}

/// What became of a request that was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Abandoned {
    /// Another answer can be given.
    Unanswered,
    /// The client has a part of ejabberd's answer.
    AnswerHasBegun,
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: Asked = Asked {
        kind: RequestKind::Other,
        keep_alive: true,
    };
    const LAST_GET: Asked = Asked {
        kind: RequestKind::Other,
        keep_alive: false,
    };
    const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

    fn go_on(relay: usize) -> Followed {
        Followed {
            relay,
            then: Then::GoOn,
        }
    }

    #[test]
    fn pipelined_answers_are_told_apart_however_they_are_cut() {
        let two = [OK, OK].concat();
        for size in 1..=two.len() {
            let mut answers = Answers::default();
            answers.asked(GET, 10);
            answers.asked(GET, 20);
            assert_eq!(answers.waiting_bytes(), 20);
            for piece in two.chunks(size) {
                assert_eq!(
                    answers.follow(piece),
                    go_on(piece.len()),
                    "in pieces of {size}"
                );
            }
            assert!(answers.is_idle(), "in pieces of {size}");
            assert_eq!(answers.waiting_bytes(), 0);
        }
    }

    #[test]
    fn a_client_that_asked_to_close_gets_its_answer_and_nothing_after_it() {
        let mut answers = Answers::default();
        answers.asked(LAST_GET, 10);
        let followed = answers.follow(&[OK, b"more"].concat());
        assert_eq!(
            followed,
            Followed {
                relay: OK.len(),
                then: Then::Close
            }
        );
    }

    #[test]
    fn an_answer_that_says_close_is_the_last() {
        let mut answers = Answers::default();
        answers.asked(GET, 10);
        answers.asked(GET, 10);
        let close = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(
            answers.follow(close),
            Followed {
                relay: close.len(),
                then: Then::Close
            }
        );
    }

    #[test]
    fn after_101_all_is_raw() {
        let mut answers = Answers::default();
        answers.asked(GET, 10);
        let switch = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x81\x00";
        let followed = answers.follow(switch);
        assert_eq!(
            followed,
            Followed {
                relay: switch.len(),
                then: Then::SwitchToRaw
            }
        );
        assert_eq!(answers.follow(b"HTTP/1.1 200"), go_on(12));
        assert!(answers.is_raw());
    }

    #[test]
    fn an_interim_answer_is_not_the_answer() {
        let mut answers = Answers::default();
        answers.asked(GET, 10);
        answers.follow(b"HTTP/1.1 100 Continue\r\n\r\n");
        assert!(!answers.has_begun() && !answers.is_idle());
        answers.follow(b"HTTP/1.1 200 OK\r\n");
        assert!(answers.has_begun());
    }

    #[test]
    fn the_last_request_can_be_given_up_unless_its_answer_has_begun() {
        let mut answers = Answers::default();
        answers.asked(GET, 10);
        answers.asked(GET, 20);
        answers.sent_more(5);
        assert_eq!(answers.waiting_bytes(), 25);
        assert_eq!(answers.abandon_last(), Abandoned::Unanswered);
        assert_eq!(answers.waiting_bytes(), 0);
        answers.follow(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
        assert_eq!(answers.abandon_last(), Abandoned::AnswerHasBegun);
        answers.follow(b"ok");
        answers.asked(GET, 10);
        assert_eq!(answers.abandon_last(), Abandoned::Unanswered);
        assert!(answers.is_idle());
    }
}

//! A request that another ECM answers.

use std::task::{Context, Poll};

use bytes::{Bytes, BytesMut};

use super::peer::{Peer, Unreachable};
use crate::http::answer::Persistence;
use crate::metrics::FLEET_HANDED_ON;
use crate::trunk::{Delivery, End, Opening, Sent, Stream};

/// No ECM writes a longer head.
const MAX_HEAD: usize = 16 * 1024;

/// A request that was handed on, and its answer as far as it has come.
#[derive(Debug)]
pub struct Handed {
    stream: Stream,
    /// What goes on with the client's connection after the answer.
    persistence: Persistence,
    answer: AnswerState,
    /// How many bytes of the stream the client was given last.
    given: usize,
}

#[derive(Debug)]
enum AnswerState {
    /// This much of its head has come.
    Head(BytesMut),
    /// This many bytes of its body are still to come.
    Body(u64),
}

/// What comes next of an answer.
#[derive(Debug)]
pub enum Next {
    /// These bytes for the client. The next ones are asked for when it has taken them.
    Piece(Bytes),
    /// The last of them.
    Last(Bytes),
    /// Nothing for now.
    NotYet,
    /// The answer ends before it is complete.
    Cut(Cut),
}

/// How an answer was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// The owner's connection was lost before the client had any of the answer: it may ask again.
    Lost,
    /// The owner has closed the client's connection without an answer.
    Closed,
    /// The client has a part of the answer, or the owner has reset its connection.
    Within,
}

impl Handed {
    /// Hands a request on.
    ///
    /// # Errors
    /// [`Unreachable`]; no ECM has the request then.
    pub fn hand_on(
        peer: &Peer,
        opening: &Opening,
        request: &[u8],
        persistence: Persistence,
    ) -> Result<Self, Unreachable> {
        let mut stream = peer.open(opening)?;
        match stream.try_send(request) {
            Ok(Sent::Sent) => {}
            // The first content is refused only if the connection is lost.
            Ok(Sent::Refused) | Err(_) => return Err(Unreachable::Connecting),
        }
        FLEET_HANDED_ON.add(1);
        Ok(Self {
            stream,
            persistence,
            answer: AnswerState::Head(BytesMut::new()),
            given: 0,
        })
    }

    /// Whether the client has none of the answer yet.
    pub const fn is_unanswered(&self) -> bool {
        matches!(self.answer, AnswerState::Head(_))
    }

    /// The client's connection ends with the answer, if the head has not gone out.
    pub const fn close_after(&mut self) {
        self.persistence = Persistence::Closes;
    }

    /// Whether the client's connection goes on after the answer.
    pub const fn persistence(&self) -> Persistence {
        self.persistence
    }

    /// Nobody waits for the answer any more.
    pub fn abort(self) {
        self.stream.abort();
    }

    /// Ready when [`next`](Self::next) may have something new.
    pub fn poll_changed(&self, context: &Context<'_>) -> Poll<()> {
        self.stream.mailbox().poll_changed(context)
    }

    /// What comes next; the client has taken what came before.
    pub fn next(&mut self) -> Next {
        let given = std::mem::take(&mut self.given);
        if given > 0 {
            self.stream.delivered(given);
        }
        loop {
            let piece = match self.stream.mailbox().take() {
                Delivery::Content(piece) => piece,
                Delivery::Nothing => return Next::NotYet,
                Delivery::End(end) => return Next::Cut(self.cut(end)),
            };
            match &mut self.answer {
                AnswerState::Body(left) => {
                    self.given = piece.len();
                    return body(left, piece);
                }
                AnswerState::Head(head) => {
                    self.stream.delivered(piece.len());
                    head.extend_from_slice(&piece);
                    let Some(end) = find_end(head) else {
                        if head.len() > MAX_HEAD {
                            return Next::Cut(Cut::Within);
                        }
                        continue;
                    };
                    let rest = head.split_off(end).freeze();
                    let Some((mut out, mut left)) = rewrite(head, self.persistence) else {
                        return Next::Cut(Cut::Within);
                    };
                    out.extend_from_slice(&rest[..rest.len().min(to_usize(left))]);
                    left = left.saturating_sub(rest.len() as u64);
                    self.answer = AnswerState::Body(left);
                    return match left {
                        0 => Next::Last(out.freeze()),
                        _ => Next::Piece(out.freeze()),
                    };
                }
            }
        }
    }

    const fn cut(&self, end: End) -> Cut {
        match (&self.answer, end) {
            (AnswerState::Head(_), End::TrunkLost) => Cut::Lost,
            (AnswerState::Head(_), End::Closed) => Cut::Closed,
            _ => Cut::Within,
        }
    }
}

fn body(left: &mut u64, mut piece: Bytes) -> Next {
    piece.truncate(to_usize(*left));
    *left -= piece.len() as u64;
    match *left {
        0 => Next::Last(piece),
        _ => Next::Piece(piece),
    }
}

fn to_usize(length: u64) -> usize {
    usize::try_from(length).unwrap_or(usize::MAX)
}

/// The place after the empty line that ends a head.
fn find_end(head: &[u8]) -> Option<usize> {
    let end = head.windows(4).position(|four| four == b"\r\n\r\n")?;
    Some(end + 4)
}

/// The head as the client gets it, and the length of the body. Its Connection field is replaced, as that is about the
/// connection between the two ECMs.
fn rewrite(head: &[u8], persistence: Persistence) -> Option<(BytesMut, u64)> {
    let mut out = BytesMut::with_capacity(head.len() + 32);
    let mut length = None;
    for line in head.split_inclusive(|byte| *byte == b'\n') {
        if line == b"\r\n" {
            break;
        }
        let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
        if name.eq_ignore_ascii_case(b"Connection") {
            continue;
        }
        if name.eq_ignore_ascii_case(b"Content-Length") {
            let value = line.get(name.len() + 1..)?.trim_ascii();
            length = std::str::from_utf8(value).ok()?.parse().ok();
        }
        out.extend_from_slice(line);
    }
    out.extend_from_slice(persistence.field().as_bytes());
    out.extend_from_slice(b"\r\n");
    Some((out, length?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_says_of_the_connection_what_is_true_of_the_clients() {
        let head = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 12\r\nX: y\r\n\r\n";
        for (persistence, expected) in [
            (
                Persistence::GoesOn,
                "HTTP/1.1 200 OK\r\nContent-Length: 12\r\nX: y\r\n\r\n",
            ),
            (
                Persistence::Closes,
                "HTTP/1.1 200 OK\r\nContent-Length: 12\r\nX: y\r\nConnection: close\r\n\r\n",
            ),
        ] {
            let (out, length) = rewrite(head, persistence).unwrap();
            assert_eq!((std::str::from_utf8(&out).unwrap(), length), (expected, 12));
        }
        assert_eq!(
            rewrite(b"HTTP/1.1 200 OK\r\n\r\n", Persistence::GoesOn),
            None
        );
        assert_eq!(find_end(b"a\r\n\r\nb"), Some(5));
        assert_eq!(find_end(b"a\r\n\r"), None);
    }
}

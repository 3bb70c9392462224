//! The messages of a session on a trunk: a u32 big-endian length and one document each.
//!
//! The length's first bit is set in a message that gives back a document: its client never got it. Such a
//! message may be empty.

use super::control::{self, Control};
use crate::xml::Document;

/// Bytes of a message's length.
const PREFIX: usize = 4;

/// The first bit of the length of a document that is given back.
const GIVEN_BACK: u32 = 1 << 31;

/// A message that can't be, or must not be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageError {
    /// Longer than what is allowed, or than 31 bits can say.
    #[error("a message of {length} bytes, but at most {limit} are allowed; end the session")]
    TooLong {
        /// Its length.
        length: usize,
        /// The most that is allowed.
        limit: usize,
    },
    /// Of no bytes; a document has some.
    #[error("a message of 0 bytes; end the session")]
    Empty,
    /// What begins like one that is none of those known.
    #[error("a message that begins with {word:#010x}, which means nothing; end the session")]
    NoControl {
        /// Its first four bytes.
        word: u32,
    },
}

/// What comes on a session's stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// A document.
    Document(&'a [u8]),
    /// What the two ends say to each other beside the documents.
    Control(Control<'a>),
}

/// Writes a message of one document at the end of `out`.
pub fn put_message(out: &mut Vec<u8>, document: &[u8]) -> Result<(), MessageError> {
    put_parts(out, &[document])
}

/// [`put_message`] without a copy in between.
pub fn put_document(out: &mut Vec<u8>, document: &Document<'_>) -> Result<(), MessageError> {
    put_parts(out, &document.parts())
}

/// Writes a message that gives a document back to where it came from: its client never got it. The first
/// one of a session says that the client is gone, and may be empty.
pub fn put_given_back(out: &mut Vec<u8>, document: &[u8]) -> Result<(), MessageError> {
    let length = length(document.len())?;
    out.reserve(PREFIX + document.len());
    out.extend_from_slice(&(GIVEN_BACK | length).to_be_bytes());
    out.extend_from_slice(document);
    Ok(())
}

fn put_parts(out: &mut Vec<u8>, parts: &[&[u8]]) -> Result<(), MessageError> {
    let length = parts
        .iter()
        .fold(0, |sum: usize, part| sum.saturating_add(part.len()));
    if length == 0 {
        return Err(MessageError::Empty);
    }
    let prefix = self::length(length)?;
    out.reserve(PREFIX + length);
    out.extend_from_slice(&prefix.to_be_bytes());
    for part in parts {
        out.extend_from_slice(part);
    }
    Ok(())
}

/// A document's length, which leaves the first bit free.
fn length(length: usize) -> Result<u32, MessageError> {
    let too_long = MessageError::TooLong {
        length,
        limit: usize::try_from(GIVEN_BACK - 1).unwrap_or(usize::MAX),
    };
    let length = u32::try_from(length).map_err(|_| too_long)?;
    if length < GIVEN_BACK {
        Ok(length)
    } else {
        Err(too_long)
    }
}

/// Reads messages from the bytes of a session, in any chunks.
///
/// Between messages it holds no memory of its own; within one, the bytes that have arrived.
#[derive(Debug)]
pub struct Messages {
    limit: usize,
    prefix: [u8; PREFIX],
    /// Bytes of `prefix` that are there.
    prefix_filled: u8,
    /// The message that is arriving, or the one handed over last.
    message: Vec<u8>,
    handed_over: bool,
}

impl Messages {
    /// `limit` is the most bytes a message may have.
    pub const fn new(limit: usize) -> Self {
        Self {
            limit,
            prefix: [0; PREFIX],
            prefix_filled: 0,
            message: Vec::new(),
            handed_over: false,
        }
    }

    /// The next document, and `input` moved behind what was used; `None` when there's no whole one left,
    /// and then all of `input` was used. A control message is an error here.
    ///
    /// After an error the session can't be read any further.
    pub fn read<'a, 'i: 'a>(
        &'a mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<&'a [u8]>, MessageError> {
        let Some(word) = self.prefix(input) else {
            return Ok(None);
        };
        let length = self.document_length(word)?;
        Ok(self.body(input, length))
    }

    /// As [`read`](Self::read), with the control messages between the documents.
    pub fn read_any<'a, 'i: 'a>(
        &'a mut self,
        input: &mut &'i [u8],
    ) -> Result<Option<Message<'a>>, MessageError> {
        let Some(word) = self.prefix(input) else {
            return Ok(None);
        };
        if !control::is_control(word) {
            let length = self.document_length(word)?;
            return Ok(self.body(input, length).map(Message::Document));
        }
        let length = control::body_length(word)?;
        let body = self.body(input, length);
        body.map(|body| control::with_body(word, body).map(Message::Control))
            .transpose()
    }

    /// The first bytes of the message, once they are there.
    fn prefix(&mut self, input: &mut &[u8]) -> Option<u32> {
        if self.handed_over {
            self.handed_over = false;
            self.message = Vec::new();
        }
        while usize::from(self.prefix_filled) < PREFIX {
            let (byte, rest) = input.split_first()?;
            if let Some(place) = self.prefix.get_mut(usize::from(self.prefix_filled)) {
                *place = *byte;
            }
            self.prefix_filled += 1;
            *input = rest;
        }
        Some(u32::from_be_bytes(self.prefix))
    }

    fn document_length(&self, word: u32) -> Result<usize, MessageError> {
        match usize::try_from(word).unwrap_or(usize::MAX) {
            0 => Err(MessageError::Empty),
            length if length > self.limit => Err(MessageError::TooLong {
                length,
                limit: self.limit,
            }),
            length => Ok(length),
        }
    }

    /// What follows the first bytes, once it is there.
    fn body<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8], length: usize) -> Option<&'a [u8]> {
        let missing = length.saturating_sub(self.message.len());
        if self.message.is_empty()
            && let Some((message, rest)) = input.split_at_checked(length)
        {
            *input = rest;
            self.prefix_filled = 0;
            return Some(message);
        }
        let taken = missing.min(input.len());
        let (more, rest) = input.split_at(taken);
        crate::buffer::append(&mut self.message, more, length);
        *input = rest;
        if self.message.len() < length {
            return None;
        }
        self.prefix_filled = 0;
        self.handed_over = true;
        Some(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(messages: &mut Messages, mut input: &[u8]) -> Result<Vec<Vec<u8>>, MessageError> {
        let mut all = Vec::new();
        while let Some(message) = messages.read(&mut input)? {
            all.push(message.to_vec());
        }
        assert_eq!(input, b"");
        Ok(all)
    }

    #[test]
    fn messages_in_any_chunks() {
        let documents = [
            b"<a/>".to_vec(),
            [b"<a>".as_slice(), &[b'x'; 300], b"</a>"].concat(),
            b"<b/>".to_vec(),
        ];
        let mut bytes = Vec::new();
        for document in &documents {
            put_message(&mut bytes, document).unwrap();
        }
        for size in 1..bytes.len() + 1 {
            let mut messages = Messages::new(1000);
            let mut read = Vec::new();
            for chunk in bytes.chunks(size) {
                read.extend(read_all(&mut messages, chunk).unwrap());
            }
            assert_eq!(read, documents, "{size}");
            assert_eq!(messages.message.capacity(), 0, "{size}");
        }
    }

    #[test]
    fn control_messages_stand_between_documents() {
        let mut bytes = Vec::new();
        put_message(&mut bytes, b"<a/>").unwrap();
        control::put_control(&mut bytes, &Control::Token(b"token")).unwrap();
        control::put_control(&mut bytes, &Control::Moved).unwrap();
        put_message(&mut bytes, b"<b/>").unwrap();
        for size in 1..bytes.len() + 1 {
            let mut messages = Messages::new(4);
            let mut read = Vec::new();
            for mut chunk in bytes.chunks(size) {
                while let Some(message) = messages.read_any(&mut chunk).unwrap() {
                    read.push(match message {
                        Message::Document(document) => String::from_utf8_lossy(document).into(),
                        Message::Control(control) => format!("{control:?}"),
                    });
                }
                assert_eq!(chunk, b"");
            }
            let token = format!("{:?}", Control::Token(b"token"));
            assert_eq!(read, ["<a/>", &token, "Moved", "<b/>"], "{size}");
        }
        for (bytes, error) in [
            (
                [0xc9, 0, 0, 0],
                MessageError::NoControl { word: 0xc900_0000 },
            ),
            (
                [0xc4, 0, 4, 1],
                MessageError::TooLong {
                    length: 1025,
                    limit: 1024,
                },
            ),
            ([0, 0, 0, 0], MessageError::Empty),
        ] {
            assert_eq!(Messages::new(4).read_any(&mut &bytes[..]), Err(error));
        }
    }

    #[test]
    fn lengths_are_checked_before_memory_is_taken() {
        let mut messages = Messages::new(10);
        assert_eq!(
            read_all(&mut messages, &[0xff; 8]),
            Err(MessageError::TooLong {
                length: 0xffff_ffff,
                limit: 10
            })
        );
        let mut messages = Messages::new(10);
        assert_eq!(
            read_all(&mut messages, &[0, 0, 0, 11]),
            Err(MessageError::TooLong {
                length: 11,
                limit: 10
            })
        );
        assert_eq!(
            read_all(&mut Messages::new(10), &[0; 4]),
            Err(MessageError::Empty)
        );
        assert_eq!(put_message(&mut Vec::new(), b""), Err(MessageError::Empty));
        let mut messages = Messages::new(1 << 30);
        assert_eq!(
            read_all(&mut messages, &[0x3f, 0xff, 0xff, 0xff, b'<']),
            Ok(vec![])
        );
        assert!(messages.message.capacity() <= 64);
    }

    #[test]
    fn an_idle_reader_is_small() {
        assert!(size_of::<Messages>() <= 48, "{}", size_of::<Messages>());
    }

    #[test]
    fn no_documents_length_has_the_bit_of_those_given_back() {
        let most = (1 << 31) - 1;
        assert_eq!(length(most), Ok(0x7fff_ffff));
        let too_long = Err(MessageError::TooLong {
            length: most + 1,
            limit: most,
        });
        assert_eq!(length(most + 1), too_long);
        let mut out = Vec::new();
        put_given_back(&mut out, b"").unwrap();
        put_given_back(&mut out, b"<a/>").unwrap();
        assert_eq!(out, b"\x80\0\0\0\x80\0\0\x04<a/>");
    }
}

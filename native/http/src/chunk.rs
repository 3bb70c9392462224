//! The chunked transfer coding (RFC 9112, section 7.1), strict and byte by byte.
//!
//! Chunk extensions are stepped over and trailer fields dropped, both with a ceiling. Every byte of
//! the framing is looked at once, however it arrives.

use crate::error::RequestError;
use crate::limits::{MAX_CHUNK_EXTENSIONS, MAX_CHUNK_LINE, MAX_TRAILERS};
use crate::line::is_token;

/// What the next bytes of the input are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ChunkStep {
    /// All of the input was framing. More is needed.
    More,
    /// After `skip` bytes of framing come `len` bytes of the body.
    Data { skip: usize, len: usize },
    /// The body ended; `skip` bytes of the input were its framing.
    End { skip: usize },
}

/// A chunked body on its way in.
#[derive(Clone, Debug)]
pub(crate) struct ChunkDecoder {
    state: State,
    /// Bytes of the body as it was sent that are decoded: for the error texts.
    at: u64,
    /// Bytes of data in the chunks announced so far.
    total: u64,
    limit: u64,
    line: u32,
    extensions: u32,
    trailers: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// In a chunk's size, of which `digits` were read.
    Size {
        size: u64,
        digits: u8,
    },
    /// Whitespace after the size: only an extension may follow.
    SizeSpace {
        size: u64,
    },
    Extension {
        size: u64,
    },
    SizeLineFeed {
        size: u64,
    },
    Data {
        left: u64,
    },
    DataReturn,
    DataLineFeed,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLineFeed,
    LastLineFeed,
    Done,
}

/// 16 hexadecimal digits are 64 bits. More leading zeros than that serve nobody.
const MAX_SIZE_DIGITS: u8 = 16;

impl ChunkDecoder {
    /// A body of at most `limit` bytes of data.
    pub fn new(limit: u64) -> Self {
        Self {
            state: State::Size { size: 0, digits: 0 },
            at: 0,
            total: 0,
            limit,
            line: 0,
            extensions: 0,
            trailers: 0,
        }
    }

    /// Looks at `input` up to the next data. The caller removes what the step covers, `skip` and
    /// `len` bytes or for `More` everything, and calls again with what follows.
    pub fn step(&mut self, input: &[u8]) -> Result<ChunkStep, RequestError> {
        for (skip, byte) in input.iter().enumerate() {
            if let State::Data { left } = self.state {
                let there = input.len() - skip;
                let len = usize::try_from(left).map_or(there, |left| left.min(there));
                return Ok(self.take_data(left, skip, len));
            }
            self.state = self.after(*byte)?;
            self.at += 1;
            if self.state == State::Done {
                return Ok(ChunkStep::End { skip: skip + 1 });
            }
        }
        Ok(ChunkStep::More)
    }

    fn take_data(&mut self, left: u64, skip: usize, len: usize) -> ChunkStep {
        let taken = len as u64;
        self.at += taken;
        self.state = match left - taken {
            0 => State::DataReturn,
            left => State::Data { left },
        };
        ChunkStep::Data { skip, len }
    }

    fn after(&mut self, byte: u8) -> Result<State, RequestError> {
        let at = self.at;
        match self.state {
            State::Size { size, digits } => self.after_size_byte(byte, size, digits),
            State::SizeSpace { size } => match byte {
                b' ' | b'\t' => self.extension_byte(State::SizeSpace { size }),
                b';' => self.extension_byte(State::Extension { size }),
                _ => Err(RequestError::BadChunkSize { at }),
            },
            State::Extension { size } => match byte {
                b'\r' => Ok(State::SizeLineFeed { size }),
                b'\n' => Err(RequestError::ChunkBareLf { at }),
                b'\t' | 0x20..=0x7e | 0x80..=0xff => self.extension_byte(State::Extension { size }),
                _ => Err(RequestError::BadChunkExtension { at }),
            },
            State::SizeLineFeed { size } => match byte {
                b'\n' => self.start_chunk(size),
                _ => Err(RequestError::ChunkBareCr { at: at - 1 }),
            },
            State::DataReturn => match byte {
                b'\r' => Ok(State::DataLineFeed),
                _ => Err(RequestError::MissingChunkEnd { at }),
            },
            State::DataLineFeed => match byte {
                b'\n' => Ok(State::Size { size: 0, digits: 0 }),
                _ => Err(RequestError::MissingChunkEnd { at }),
            },
            State::TrailerStart => match byte {
                b'\r' => Ok(State::LastLineFeed),
                b'\n' => Err(RequestError::ChunkBareLf { at }),
                byte if is_token(byte) => self.trailer_byte(State::TrailerName),
                _ => Err(RequestError::BadTrailer { at }),
            },
            State::TrailerName => match byte {
                b':' => self.trailer_byte(State::TrailerValue),
                byte if is_token(byte) => self.trailer_byte(State::TrailerName),
                _ => Err(RequestError::BadTrailer { at }),
            },
            State::TrailerValue => match byte {
                b'\r' => self.trailer_byte(State::TrailerLineFeed),
                b'\n' => Err(RequestError::ChunkBareLf { at }),
                b'\t' | 0x20..=0x7e | 0x80..=0xff => self.trailer_byte(State::TrailerValue),
                _ => Err(RequestError::BadTrailer { at }),
            },
            State::TrailerLineFeed => match byte {
                b'\n' => self.trailer_byte(State::TrailerStart),
                _ => Err(RequestError::ChunkBareCr { at: at - 1 }),
            },
            State::LastLineFeed => match byte {
                b'\n' => Ok(State::Done),
                _ => Err(RequestError::ChunkBareCr { at: at - 1 }),
            },
            state @ (State::Data { .. } | State::Done) => Ok(state),
        }
    }

    fn after_size_byte(&mut self, byte: u8, size: u64, digits: u8) -> Result<State, RequestError> {
        let at = self.at;
        match byte {
            b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F' => {
                if digits == MAX_SIZE_DIGITS {
                    return Err(RequestError::ChunkSizeOverflow { at });
                }
                // 16 digits of 4 bits: nothing is shifted out.
                Ok(State::Size {
                    size: size << 4 | u64::from(hex_value(byte)),
                    digits: digits + 1,
                })
            }
            _ if digits == 0 => Err(RequestError::BadChunkSize { at }),
            b'\r' => Ok(State::SizeLineFeed { size }),
            b'\n' => Err(RequestError::ChunkBareLf { at }),
            b';' => self.extension_byte(State::Extension { size }),
            b' ' | b'\t' => self.extension_byte(State::SizeSpace { size }),
            _ => Err(RequestError::BadChunkSize { at }),
        }
    }

    fn start_chunk(&mut self, size: u64) -> Result<State, RequestError> {
        self.line = 0;
        if size == 0 {
            return Ok(State::TrailerStart);
        }
        match self.total.checked_add(size) {
            Some(total) if total <= self.limit => {
                self.total = total;
                Ok(State::Data { left: size })
            }
            _ => Err(RequestError::ChunkedBodyTooLarge { limit: self.limit }),
        }
    }

    fn extension_byte(&mut self, next: State) -> Result<State, RequestError> {
        self.line += 1;
        self.extensions += 1;
        if self.line > MAX_CHUNK_LINE {
            return Err(RequestError::ChunkLineTooLong {
                at: self.at,
                limit: MAX_CHUNK_LINE,
            });
        }
        if self.extensions > MAX_CHUNK_EXTENSIONS {
            let limit = MAX_CHUNK_EXTENSIONS;
            return Err(RequestError::ChunkExtensionsTooLarge { at: self.at, limit });
        }
        Ok(next)
    }

    fn trailer_byte(&mut self, next: State) -> Result<State, RequestError> {
        self.trailers += 1;
        if self.trailers > MAX_TRAILERS {
            Err(RequestError::TrailersTooLarge {
                limit: MAX_TRAILERS,
            })
        } else {
            Ok(next)
        }
    }
}

fn hex_value(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The body of `input` and how many bytes it took, in pieces of `piece` bytes. `None`: it's not
    /// whole.
    fn decode(
        input: &[u8],
        limit: u64,
        piece: usize,
    ) -> Result<Option<(Vec<u8>, usize)>, RequestError> {
        let mut decoder = ChunkDecoder::new(limit);
        let mut body = Vec::new();
        let mut at = 0;
        for part in input.chunks(piece) {
            let mut rest = part;
            while !rest.is_empty() {
                let used = match decoder.step(rest)? {
                    ChunkStep::More => rest.len(),
                    ChunkStep::Data { skip, len } => {
                        body.extend_from_slice(&rest[skip..skip + len]);
                        skip + len
                    }
                    ChunkStep::End { skip } => return Ok(Some((body, at + skip))),
                };
                at += used;
                rest = &rest[used..];
            }
        }
        Ok(None)
    }

    #[test]
    fn accepted() {
        let long_extension = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(1023));
        let rows: [(&[u8], &[u8]); 14] = [
            (b"0\r\n\r\n", b""),
            (b"000\r\n\r\n", b""),
            (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
            (b"1\r\na\r\n2\r\nbc\r\n0\r\n\r\n", b"abc"),
            (b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
            (b"a\r\n0123456789\r\n0\r\n\r\n", b"0123456789"),
            (b"0000000000000001\r\na\r\n0\r\n\r\n", b"a"),
            (b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n"),
            (b"1;name=value\r\na\r\n0;last\r\n\r\n", b"a"),
            (b"1 ;name=\"v\"\r\na\r\n0\r\n\r\n", b"a"),
            (b"1\t; a;b\r\na\r\n0\r\n\r\n", b"a"),
            (b"1\r\na\r\n0\r\nTrailer: v\r\n\r\n", b"a"),
            (b"1\r\na\r\n0\r\nA: v\r\nB:\r\nC: \xff\t\r\n\r\n", b"a"),
            (long_extension.as_bytes(), b"a"),
        ];
        for (input, expected) in rows {
            for piece in [1, 2, 3, input.len()] {
                let followed = [input, b"GET"].concat();
                let found = decode(&followed, 100, piece);
                let expected = Ok(Some((expected.to_vec(), input.len())));
                assert_eq!(found, expected, "{} by {piece}", input.escape_ascii());
            }
        }
    }

    #[test]
    fn refused() {
        let long_line = format!("1;{}\r\n", "x".repeat(1024));
        let extensions = format!("1;{}\r\na\r\n", "x".repeat(1000)).repeat(17);
        let trailers = format!("0\r\n{}", "A: b\r\n".repeat(1400));
        let rows: [(&[u8], &str); 34] = [
            (b"\r\n", "bad_chunk_size"),
            (b"\n", "bad_chunk_size"),
            (b";", "bad_chunk_size"),
            (b" 5\r\n", "bad_chunk_size"),
            (b"+5\r\n", "bad_chunk_size"),
            (b"-5\r\n", "bad_chunk_size"),
            (b"0x5\r\n", "bad_chunk_size"),
            (b"5_0\r\n", "bad_chunk_size"),
            (b"g\r\n", "bad_chunk_size"),
            (b"5 \r\n", "bad_chunk_size"),
            (b"5 5\r\n", "bad_chunk_size"),
            (b"\xef\xbc\x95\r\n", "bad_chunk_size"),
            (b"5,\r\n", "bad_chunk_size"),
            (b"00000000000000001\r\n", "chunk_size_overflow"),
            (b"10000000000000005\r\n", "chunk_size_overflow"),
            (b"5\n", "chunk_bare_lf"),
            (b"5;a\n", "chunk_bare_lf"),
            (b"5\r5", "chunk_bare_cr"),
            (b"5;a\rb\r\n", "chunk_bare_cr"),
            (b"5;a\x00", "bad_chunk_extension"),
            (b"5;a\x7f", "bad_chunk_extension"),
            (b"1\r\nab", "missing_chunk_end"),
            (b"1\r\na\n", "missing_chunk_end"),
            (b"1\r\na\rb", "missing_chunk_end"),
            (b"1\r\na0\r\n\r\n", "missing_chunk_end"),
            (b"0\r\nA b\r\n", "bad_trailer"),
            (b"0\r\n A: b\r\n", "bad_trailer"),
            (b"0\r\nA: b\x00\r\n", "bad_trailer"),
            (b"0\r\n:\r\n", "bad_trailer"),
            (b"0\r\nA: b\n", "chunk_bare_lf"),
            (b"0\r\n\n", "chunk_bare_lf"),
            (long_line.as_bytes(), "chunk_line_too_long"),
            (extensions.as_bytes(), "chunk_extensions_too_large"),
            (trailers.as_bytes(), "trailers_too_large"),
        ];
        for (input, expected) in rows {
            for piece in [1, 2, input.len()] {
                let found = decode(input, 100, piece).expect_err(expected);
                assert_eq!(
                    found.name(),
                    expected,
                    "{} by {piece}",
                    input.escape_ascii()
                );
            }
        }
    }

    #[test]
    fn a_size_past_the_limit_is_refused_before_its_data() {
        let limit = |limit| RequestError::ChunkedBodyTooLarge { limit };
        assert_eq!(decode(b"b\r\n", 10, 3), Err(limit(10)));
        assert_eq!(decode(b"a\r\n0123456789\r\n1\r\n", 10, 3), Err(limit(10)));
        assert_eq!(decode(b"ffffffffffffffff\r\n", 10, 3), Err(limit(10)));
        let two = b"8000000000000000\r\n";
        assert_eq!(decode(two, u64::MAX, 3), Ok(None), "fits 64 bits");
        assert!(
            decode(b"1\r\na\r\nffffffffffffffff\r\n", u64::MAX, 3).is_err(),
            "the sum doesn't"
        );
    }
}

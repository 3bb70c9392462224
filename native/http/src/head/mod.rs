//! Finds and reads the head of a request in a buffer: httparse's speed, and what httparse lets pass.
//!
//! A head that is there whole is read by httparse at once. One that arrives in pieces is judged line
//! by line as its lines become complete, each byte once, and read by httparse at its end. So what a
//! client gets depends on the bytes that it sent and never on how they were cut, and a head that comes
//! byte by byte costs linear time.

use std::mem::MaybeUninit;

use crate::edit::{Field, HeadFields};
use crate::error::RequestError;
use crate::framing::Framing;
use crate::limits::{Limits, MAX_EMPTY_LINES};
use crate::line::{check_field_line, check_request_line, is_token, line_ends, offset};

/// Header slots kept on the stack: the default limit. A higher limit costs an allocation a head.
const STACK_HEADERS: usize = 100;

/// A head that was found and is in order, borrowed from the buffer.
pub(crate) struct Head<'h, 'b> {
    /// The head as it came, the empty line included.
    pub bytes: &'b [u8],
    pub method: &'b str,
    pub target: &'b str,
    pub headers: &'h [httparse::Header<'b>],
    pub framing: Framing,
}

impl HeadFields for Head<'_, '_> {
    fn request_line(&self) -> &[u8] {
        const VERSION_AND_END: usize = " HTTP/1.1\r\n".len();
        let target_end = offset(self.bytes, self.target.as_bytes()) + self.target.len();
        &self.bytes[..target_end + VERSION_AND_END]
    }

    fn fields(&self) -> impl Iterator<Item = Field<'_>> {
        self.headers.iter().map(|header| {
            let start = offset(self.bytes, header.name.as_bytes());
            let end = offset(self.bytes, header.value) + header.value.len();
            Field {
                name: header.name,
                value: header.value,
                line: &self.bytes[start..end],
            }
        })
    }
}

/// How far the search for the end of a head has come.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HeadScan {
    /// Bytes that hold no line end that isn't known yet.
    scanned: usize,
    /// Where the line that is still open starts.
    line_start: usize,
    /// Header lines that are complete.
    headers: usize,
    /// Work done, in bytes looked at: what the tests hold against the input's length.
    #[cfg(test)]
    pub work: usize,
}

/// How many bytes of empty lines stand before the request line, to be removed by the caller. `seen`
/// counts the lines across calls; the caller sets it to 0 for each request.
///
/// RFC 9112, section 2.2: a server should ignore at least one empty line there.
pub(crate) fn leading_empty_lines(buffer: &[u8], seen: &mut u8) -> Result<usize, RequestError> {
    let mut skipped = 0;
    loop {
        match &buffer[skipped..] {
            [b'\r', b'\n', ..] => {
                if *seen == MAX_EMPTY_LINES {
                    return Err(RequestError::TooManyEmptyLines {
                        limit: MAX_EMPTY_LINES,
                    });
                }
                *seen += 1;
                skipped += 2;
            }
            [b'\n', ..] => return Err(RequestError::BareLf { at: 0 }),
            [b'\r', _, ..] => return Err(RequestError::BareCr { at: 0 }),
            _ => return Ok(skipped),
        }
    }
}

/// Looks for a whole head at the start of `buffer` and gives it to `then`. `None`: more bytes are
/// needed; call again with the same bytes and those that came after, and the same `scan`.
pub(crate) fn read_head<R>(
    buffer: &[u8],
    limits: &Limits,
    scan: &mut HeadScan,
    then: impl FnOnce(Head<'_, '_>) -> R,
) -> Result<Option<R>, RequestError> {
    match buffer.first() {
        None | Some(b'\r') => return Ok(None),
        Some(0x16) => return Err(RequestError::TlsHandshake),
        Some(byte) if !is_token(*byte) => return Err(RequestError::BadMethod { at: 0 }),
        Some(_) => {}
    }
    let mut then = Some(then);
    if scan.scanned == 0 {
        scan.count(buffer.len());
        if let Parse::Whole(result) = parse(buffer, limits, &mut then) {
            return result.map(Some);
        }
    }
    match scan.find_end(buffer, limits)? {
        None => Ok(None),
        Some(end) => {
            scan.count(end);
            match parse(&buffer[..end], limits, &mut then) {
                Parse::Whole(result) => result.map(Some),
                Parse::Otherwise => Err(RequestError::MalformedHead),
            }
        }
    }
}

enum Parse<R> {
    /// The head is there and each of its lines is in order; its framing may be refused.
    Whole(Result<R, RequestError>),
    /// It's incomplete or wrong: the scan has to say which.
    Otherwise,
}

fn parse<R>(
    buffer: &[u8],
    limits: &Limits,
    then: &mut Option<impl FnOnce(Head<'_, '_>) -> R>,
) -> Parse<R> {
    if limits.max_headers <= STACK_HEADERS {
        let mut slots = [const { MaybeUninit::uninit() }; STACK_HEADERS];
        parse_into(buffer, limits, &mut slots[..limits.max_headers], then)
    } else {
        let mut slots = Vec::new();
        slots.resize_with(limits.max_headers, MaybeUninit::uninit);
        parse_into(buffer, limits, &mut slots, then)
    }
}

fn parse_into<'b, R>(
    buffer: &'b [u8],
    limits: &Limits,
    slots: &mut [MaybeUninit<httparse::Header<'b>>],
    then: &mut Option<impl FnOnce(Head<'_, '_>) -> R>,
) -> Parse<R> {
    let mut request = httparse::Request::new(&mut []);
    let Ok(httparse::Status::Complete(len)) = request.parse_with_uninit_headers(buffer, slots)
    else {
        return Parse::Otherwise;
    };
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version)
    else {
        return Parse::Otherwise;
    };
    let bytes = &buffer[..len];
    let Some(values) = line_ends(bytes, target, request.headers) else {
        return Parse::Otherwise;
    };
    if len > limits.max_head {
        return Parse::Otherwise;
    }
    let framing = Framing::of(bytes, method, target, minor, request.headers, values);
    let Some(then) = then.take() else {
        return Parse::Otherwise;
    };
    Parse::Whole(framing.map(|framing| {
        then(Head {
            bytes,
            method,
            target,
            headers: request.headers,
            framing,
        })
    }))
}

impl HeadScan {
    /// Judges the lines that have become complete; the head's length when its empty line is there.
    fn find_end(&mut self, buffer: &[u8], limits: &Limits) -> Result<Option<usize>, RequestError> {
        let within = &buffer[..buffer.len().min(limits.max_head)];
        while let Some(found) = within[self.scanned..]
            .iter()
            .position(|byte| *byte == b'\n')
        {
            let line_feed = self.scanned + found;
            self.count(found + 1);
            let line = &within[self.line_start..line_feed];
            let content = line.strip_suffix(b"\r").unwrap_or(line);
            self.check_line(content, limits)?;
            if line.len() == content.len() {
                return Err(RequestError::BareLf { at: line_feed });
            }
            self.scanned = line_feed + 1;
            self.line_start = self.scanned;
            if content.is_empty() {
                return Ok(Some(self.scanned));
            }
        }
        self.count(within.len() - self.scanned);
        self.scanned = within.len();
        if buffer.len() >= limits.max_head {
            return Err(RequestError::HeadTooLarge {
                limit: limits.max_head,
            });
        }
        Ok(None)
    }

    fn check_line(&mut self, content: &[u8], limits: &Limits) -> Result<(), RequestError> {
        self.count(content.len());
        if self.line_start == 0 {
            return check_request_line(content);
        }
        if content.is_empty() {
            return Ok(());
        }
        check_field_line(content, self.line_start)?;
        self.headers += 1;
        if self.headers > limits.max_headers {
            return Err(RequestError::TooManyHeaders {
                limit: limits.max_headers,
            });
        }
        Ok(())
    }

    #[cfg(test)]
    fn count(&mut self, bytes: usize) {
        self.work += bytes;
    }

    #[cfg(not(test))]
    fn count(&mut self, _bytes: usize) {}
}

#[cfg(test)]
mod tests;

//! What is unfinished in a stream: a document whose end hasn't arrived.

use crate::buffer::append;
use crate::error::XmlError;
use crate::limits::Limits;
use crate::xml::{Progress, Scanner, Scope, Until};

#[derive(Debug)]
pub(super) struct Unfinished {
    pub(super) bytes: Vec<u8>,
    scanner: Scanner,
    /// It was handed over, and goes at the next call.
    pub(super) finished: bool,
}

/// A document that the scanner has seen whole.
pub(super) struct Scanned<'a> {
    pub(super) bytes: &'a [u8],
    pub(super) scanner: Scanner,
    pub(super) progress: Progress,
}

impl Unfinished {
    /// Bytes of memory.
    pub(super) fn held(&self) -> usize {
        size_of::<Self>() + self.bytes.capacity() + self.scanner.held()
    }

    pub(super) fn new(bytes: Vec<u8>) -> Self {
        Self {
            bytes,
            scanner: Scanner::new(),
            finished: false,
        }
    }
}

/// Scans on in what is unfinished, or in `input` itself when nothing is; what stays unfinished is kept.
pub(super) fn scan<'a, 'i: 'a>(
    unfinished: &'a mut Option<Box<Unfinished>>,
    input: &mut &'i [u8],
    scope: Scope<'_, '_>,
    limits: &Limits,
    until: Until,
) -> Result<Option<Scanned<'a>>, XmlError> {
    match unfinished {
        None => {
            let mut scanner = Scanner::new();
            let progress = scanner.scan(input, &scope, limits, until)?;
            let (Progress::End(end) | Progress::RootTag(end)) = progress else {
                *unfinished = Some(Box::new(Unfinished {
                    bytes: input.to_vec(),
                    scanner,
                    finished: false,
                }));
                *input = &[];
                return Ok(None);
            };
            let (bytes, rest) = input.split_at_checked(end).unwrap_or((*input, b""));
            *input = rest;
            Ok(Some(Scanned {
                bytes,
                scanner,
                progress,
            }))
        }
        Some(held) => {
            let before = held.bytes.len();
            let taken = input.len().min(limits.max_document.saturating_sub(before));
            let more = input.get(..taken).unwrap_or_default();
            append(&mut held.bytes, more, limits.max_document);
            let progress = held.scanner.scan(&held.bytes, &scope, limits, until)?;
            let (Progress::End(end) | Progress::RootTag(end)) = progress else {
                *input = input.get(taken..).unwrap_or_default();
                return Ok(None);
            };
            *input = input.get(end.saturating_sub(before)..).unwrap_or_default();
            held.finished = true;
            Ok(Some(Scanned {
                bytes: held.bytes.get(..end).unwrap_or_default(),
                scanner: std::mem::replace(&mut held.scanner, Scanner::new()),
                progress,
            }))
        }
    }
}

//! What a head says about its body and its connection (RFC 9112, sections 3.2, 6 and 9).

use crate::authority::Authority;
use crate::connection::Connection;
use crate::error::RequestError;
use crate::line::{ValueEnds, offset};
use crate::response::RequestKind;
use crate::target::Target;

/// The HTTP versions that are spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0
    Http10,
    /// HTTP/1.1
    Http11,
}

/// How a request's body is delimited. A method alone says nothing: GET, HEAD, DELETE and OPTIONS may
/// have a body like every other (RFC 9112, section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// Neither `Content-Length` nor `Transfer-Encoding`: no body.
    None,
    /// `Content-Length`, in bytes; 0 where the client said so.
    Length(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
}

/// The facts about a head that decide how the connection goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Framing {
    pub version: Version,
    pub body: BodyLength,
    pub kind: RequestKind,
    pub upgrade: bool,
    pub expects_continue: bool,
    pub keep_alive: bool,
    pub value_ends: ValueEnds,
}

impl Framing {
    /// Reads the fields of a head whose lines are in order, and refuses those that contradict.
    pub fn of(
        head: &[u8],
        method: &str,
        target: &str,
        minor: u8,
        headers: &[httparse::Header<'_>],
        value_ends: ValueEnds,
    ) -> Result<Self, RequestError> {
        let version = if minor == 0 {
            Version::Http10
        } else {
            Version::Http11
        };
        let target = Target::read(method, target, offset(head, target.as_bytes()))?;
        let mut fields = Fields::default();
        for header in headers {
            fields.note(head, header)?;
        }
        let body = fields.body(version)?;
        check_host(version, target, fields.host)?;
        let http11 = version == Version::Http11;
        Ok(Self {
            version,
            body,
            kind: RequestKind::of(method),
            // RFC 9110, section 7.8: Upgrade in HTTP/1.0 is ignored.
            upgrade: http11 && fields.has_upgrade && fields.connection.upgrade,
            // RFC 9110, section 10.1.1: likewise 100-continue.
            expects_continue: http11 && fields.expects_continue,
            keep_alive: !fields.connection.close && (http11 || fields.connection.keep_alive),
            value_ends,
        })
    }
}

/// A value and where it starts in the head.
#[derive(Clone, Copy)]
struct Found<'a> {
    value: &'a [u8],
    at: usize,
}

#[derive(Default)]
struct Fields<'a> {
    host: Option<Found<'a>>,
    length: Option<Found<'a>>,
    transfer_encoding: Option<Found<'a>>,
    connection: Connection,
    has_upgrade: bool,
    expects_continue: bool,
}

impl<'a> Fields<'a> {
    fn note(&mut self, head: &[u8], header: &httparse::Header<'a>) -> Result<(), RequestError> {
        let name = header.name;
        let is = |known: &str| name.eq_ignore_ascii_case(known);
        let found = || Found {
            value: header.value,
            at: offset(head, header.value),
        };
        let name_at = || offset(head, name.as_bytes());
        // Few names have these lengths, so most fields cost one comparison.
        match name.len() {
            4 if is("host") => match self.host {
                None => self.host = Some(found()),
                Some(_) => return Err(RequestError::RepeatedHost { at: name_at() }),
            },
            6 if is("expect") => {
                self.expects_continue |= header.value.eq_ignore_ascii_case(b"100-continue");
            }
            7 if is("upgrade") => self.has_upgrade = true,
            10 if is("connection") => self.connection.note(header.value),
            14 if is("content-length") => match self.length {
                None => self.length = Some(found()),
                Some(first) if first.value == header.value => {
                    return Err(RequestError::RepeatedContentLength { at: name_at() });
                }
                Some(_) => return Err(RequestError::ConflictingContentLength { at: name_at() }),
            },
            17 if is("transfer-encoding") => match self.transfer_encoding {
                None => self.transfer_encoding = Some(found()),
                Some(_) => return Err(RequestError::RepeatedTransferEncoding { at: name_at() }),
            },
            _ => {}
        }
        Ok(())
    }

    fn body(&self, version: Version) -> Result<BodyLength, RequestError> {
        match (self.length, self.transfer_encoding) {
            (None, None) => Ok(BodyLength::None),
            (Some(length), None) => decimal(length).map(BodyLength::Length),
            (Some(_), Some(coding)) => {
                Err(RequestError::ContentLengthWithTransferEncoding { at: coding.at })
            }
            (None, Some(coding)) if version == Version::Http10 => {
                Err(RequestError::TransferEncodingInHttp10 { at: coding.at })
            }
            (None, Some(coding)) => chunked(coding),
        }
    }
}

/// `1*DIGIT`, and nothing that a lenient reader would make a number of.
fn decimal(length: Found<'_>) -> Result<u64, RequestError> {
    let at = length.at;
    if length.value.is_empty() || !length.value.iter().all(u8::is_ascii_digit) {
        return Err(RequestError::BadContentLength { at });
    }
    length
        .value
        .iter()
        .try_fold(0_u64, |sum, digit| {
            sum.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
        })
        .ok_or(RequestError::ContentLengthOverflow { at })
}

fn chunked(coding: Found<'_>) -> Result<BodyLength, RequestError> {
    if coding.value.eq_ignore_ascii_case(b"chunked") {
        return Ok(BodyLength::Chunked);
    }
    let codings = coding.value.split(|byte| *byte == b',');
    let times = codings
        .filter(|token| token.trim_ascii().eq_ignore_ascii_case(b"chunked"))
        .count();
    match times {
        0 | 1 => Err(RequestError::UnknownTransferCoding { at: coding.at }),
        _ => Err(RequestError::RepeatedTransferEncoding { at: coding.at }),
    }
}

fn check_host(
    version: Version,
    target: Target<'_>,
    field: Option<Found<'_>>,
) -> Result<(), RequestError> {
    let Some(field) = field else {
        return match version {
            Version::Http10 => Ok(()),
            Version::Http11 => Err(RequestError::MissingHost),
        };
    };
    let host = Authority::read(field.value).ok_or(RequestError::BadHost { at: field.at })?;
    match target {
        Target::Absolute {
            authority,
            default_port,
        } if !authority.is_same(host, default_port) => {
            Err(RequestError::HostDisagrees { at: field.at })
        }
        _ => Ok(()),
    }
}

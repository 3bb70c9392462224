//! Reading a header.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

use bytes::Bytes;

use super::{
    Addresses, Command, FIXED, Header, MAX_LENGTH, MAX_UNIQUE_ID, ProxyError, SIGNATURE, Tls,
    Transport,
};
use super::{
    TYPE_ALPN, TYPE_AUTHORITY, TYPE_CRC32C, TYPE_SSL, TYPE_SSL_CN, TYPE_SSL_VERSION,
    TYPE_TRANSPORT, TYPE_UNIQUE_ID,
};

/// A Unix address in a header, in bytes.
const UNIX_PATH: usize = 108;
/// The client's flags and the result of its verification, before the sub-TLVs of SSL.
const SSL_FIXED: usize = 5;
const SSL_CLIENT_SSL: u8 = 1;
/// It showed a certificate, on this connection or the session before.
const SSL_CLIENT_CERT: u8 = 2 | 4;

/// Reads the header at the front of `input`: it and its length in bytes, or `None` as long as its
/// end is not there. TLVs of unknown types are skipped.
///
/// # Errors
/// [`ProxyError`] as soon as the bytes can't be a header.
pub fn read(input: &[u8]) -> Result<Option<(Header, usize)>, ProxyError> {
    check_signature(input)?;
    let Some(fixed) = input.first_chunk::<FIXED>() else {
        return Ok(None);
    };
    let [.., version_command, family, high, low] = *fixed;
    let command = command(version_command)?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_LENGTH {
        return Err(ProxyError::TooLong {
            found: length,
            limit: MAX_LENGTH,
        });
    }
    let end = FIXED + length;
    let Some(header) = input.get(..end) else {
        return Ok(None);
    };
    let (addresses, taken) = addresses(family, &header[FIXED..])?;
    let mut read = Header {
        command,
        addresses,
        ..Header::default()
    };
    let mut tlvs = Tlvs {
        bytes: header,
        at: FIXED + taken,
    };
    while let Some(tlv) = tlvs.next()? {
        take(&mut read, &tlv, header)?;
    }
    Ok(Some((read, end)))
}

fn check_signature(input: &[u8]) -> Result<(), ProxyError> {
    let differs = input.iter().zip(SIGNATURE).enumerate();
    let mut differs = differs.filter(|(_, (found, expected))| *found != expected);
    match differs.next() {
        None => Ok(()),
        Some((index, (found, _))) => Err(ProxyError::Signature {
            index,
            found: *found,
        }),
    }
}

fn command(byte: u8) -> Result<Command, ProxyError> {
    match (byte >> 4, byte & 0x0f) {
        (2, 0) => Ok(Command::Local),
        (2, 1) => Ok(Command::Proxy),
        (2, found) => Err(ProxyError::Command { found }),
        (found, _) => Err(ProxyError::Version { found }),
    }
}

/// The addresses, and how many bytes they took.
fn addresses(family: u8, bytes: &[u8]) -> Result<(Addresses, usize), ProxyError> {
    let short = |needed| ProxyError::Addresses {
        found: bytes.len(),
        needed,
    };
    match family >> 4 {
        1 => {
            let inet = bytes.first_chunk::<12>().ok_or(short(12))?;
            let [a, b, c, d, e, f, g, h, p, q, r, s] = *inet;
            Ok((
                Addresses::Inet {
                    source: SocketAddr::from((
                        Ipv4Addr::new(a, b, c, d),
                        u16::from_be_bytes([p, q]),
                    )),
                    destination: SocketAddr::from((
                        Ipv4Addr::new(e, f, g, h),
                        u16::from_be_bytes([r, s]),
                    )),
                },
                inet.len(),
            ))
        }
        2 => {
            let inet6 = bytes.first_chunk::<36>().ok_or(short(36))?;
            let mut source = [0; 16];
            let mut destination = [0; 16];
            source.copy_from_slice(&inet6[..16]);
            destination.copy_from_slice(&inet6[16..32]);
            let [.., p, q, r, s] = *inet6;
            Ok((
                Addresses::Inet {
                    source: SocketAddr::from((Ipv6Addr::from(source), u16::from_be_bytes([p, q]))),
                    destination: SocketAddr::from((
                        Ipv6Addr::from(destination),
                        u16::from_be_bytes([r, s]),
                    )),
                },
                inet6.len(),
            ))
        }
        3 => {
            let unix = bytes.get(..2 * UNIX_PATH).ok_or(short(2 * UNIX_PATH))?;
            let (source, destination) = unix.split_at(UNIX_PATH);
            let addresses = Addresses::Unix {
                source: path(source),
                destination: path(destination),
            };
            Ok((addresses, unix.len()))
        }
        // The specification: an unknown family's bytes can't be told from TLVs, so all are skipped.
        0 => Ok((Addresses::Unspecified, 0)),
        _ => Ok((Addresses::Unspecified, bytes.len())),
    }
}

/// A path is filled up with zeros.
fn path(padded: &[u8]) -> Bytes {
    let end = padded
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |last| last + 1);
    Bytes::copy_from_slice(&padded[..end])
}

struct Tlv<'a> {
    kind: u8,
    /// Where it starts in the header.
    at: usize,
    value: &'a [u8],
}

struct Tlvs<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Tlvs<'a> {
    fn next(&mut self) -> Result<Option<Tlv<'a>>, ProxyError> {
        let at = self.at;
        let Some(rest) = self.bytes.get(at..).filter(|rest| !rest.is_empty()) else {
            return Ok(None);
        };
        let kind = rest[0];
        let cut = ProxyError::Tlv { kind, at };
        let [_, high, low] = *rest.first_chunk::<3>().ok_or(cut)?;
        let end = 3 + usize::from(u16::from_be_bytes([high, low]));
        let value = rest.get(3..end).ok_or(cut)?;
        self.at = at + end;
        Ok(Some(Tlv { kind, at, value }))
    }
}

fn take(read: &mut Header, tlv: &Tlv<'_>, header: &[u8]) -> Result<(), ProxyError> {
    let invalid = ProxyError::Value {
        kind: tlv.kind,
        at: tlv.at,
    };
    match tlv.kind {
        TYPE_ALPN => read.alpn = Some(Bytes::copy_from_slice(tlv.value)),
        TYPE_AUTHORITY => read.authority = Some(text(tlv.value).ok_or(invalid)?),
        TYPE_CRC32C => check_crc(tlv, header)?,
        TYPE_UNIQUE_ID if tlv.value.len() > MAX_UNIQUE_ID => return Err(invalid),
        TYPE_UNIQUE_ID => read.unique_id = Some(Bytes::copy_from_slice(tlv.value)),
        TYPE_SSL => read.tls = tls(tlv)?,
        TYPE_TRANSPORT => {
            read.transport = Some(Transport::from_name(tlv.value).ok_or(invalid)?);
        }
        _ => {}
    }
    Ok(())
}

fn tls(tlv: &Tlv<'_>) -> Result<Option<Tls>, ProxyError> {
    let invalid = ProxyError::Value {
        kind: tlv.kind,
        at: tlv.at,
    };
    let [flags, verify @ ..] = *tlv.value.first_chunk::<SSL_FIXED>().ok_or(invalid)?;
    let mut tls = Tls {
        verified: flags & SSL_CLIENT_CERT != 0 && u32::from_be_bytes(verify) == 0,
        ..Tls::default()
    };
    let mut parts = Tlvs {
        bytes: tlv.value,
        at: SSL_FIXED,
    };
    while let Some(part) = parts.next()? {
        match part.kind {
            TYPE_SSL_VERSION => tls.version = Some(text(part.value).ok_or(invalid)?),
            TYPE_SSL_CN => tls.common_name = Some(text(part.value).ok_or(invalid)?),
            _ => {}
        }
    }
    Ok((flags & SSL_CLIENT_SSL != 0).then_some(tls))
}

fn text(value: &[u8]) -> Option<String> {
    std::str::from_utf8(value).ok().map(str::to_owned)
}

/// The checksum is that of the whole header with zeros in its own place.
fn check_crc(tlv: &Tlv<'_>, header: &[u8]) -> Result<(), ProxyError> {
    let invalid = ProxyError::Value {
        kind: tlv.kind,
        at: tlv.at,
    };
    let found = u32::from_be_bytes(*tlv.value.first_chunk::<4>().ok_or(invalid)?);
    if tlv.value.len() != 4 {
        return Err(invalid);
    }
    let value = tlv.at + 3;
    let bytes = header.iter().enumerate().map(|(at, byte)| match at {
        at if at >= value && at < value + 4 => 0,
        _ => *byte,
    });
    match crc32c(bytes) {
        computed if computed == found => Ok(()),
        computed => Err(ProxyError::Checksum { found, computed }),
    }
}

/// Castagnoli's CRC-32 (RFC 3720, appendix B.4), bit by bit: headers are short and few carry it.
fn crc32c(bytes: impl Iterator<Item = u8>) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg());
    !bytes.fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(byte), step))
}

//! Reading a header.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;

use super::{
    Addresses, Command, END_POINT, FIXED, Header, MAX_CERTIFICATE, MAX_LENGTH, MAX_TAKEOVER,
    MAX_UNIQUE_ID, ProxyError, SIGNATURE, Tls, Transport,
};
use super::{
    TYPE_ALPN, TYPE_AUTHORITY, TYPE_CRC32C, TYPE_END_POINT, TYPE_EXPORTER, TYPE_FIELDS, TYPE_SSL,
    TYPE_SSL_CIPHER, TYPE_SSL_CLIENT_CERT, TYPE_SSL_CN, TYPE_SSL_KEY, TYPE_SSL_SIGNATURE,
    TYPE_SSL_VERSION, TYPE_TAKEOVER, TYPE_TRANSPORT, TYPE_UNIQUE, TYPE_UNIQUE_ID,
};

/// Two IPv4 addresses and ports, in bytes.
const INET: usize = 12;
/// Two IPv6 addresses and ports, in bytes.
const INET6: usize = 36;
/// A Unix address in a header, in bytes.
const UNIX_PATH: usize = 108;
/// The client's flags and the result of its verification, before the sub-TLVs of SSL.
const SSL_FIXED: usize = 5;
/// A TLV's type and length, in bytes.
const TLV_FIXED: usize = 3;
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
    match contents(command, family, header) {
        Ok(read) => Ok(Some((read, end))),
        // A sender that speaks for itself may leave anything here, and it is to be skipped.
        Err(error) if command == Command::Local && !is_checksum(error) => {
            let read = Header {
                command,
                ..Header::default()
            };
            Ok(Some((read, end)))
        }
        Err(error) => Err(error),
    }
}

const fn is_checksum(error: ProxyError) -> bool {
    matches!(error, ProxyError::Checksum { .. })
}

/// Reads a whole header after its fixed part.
fn contents(command: Command, family: u8, header: &[u8]) -> Result<Header, ProxyError> {
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
    Ok(read)
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
    let (kind, transport) = (family >> 4, family & 0x0f);
    if kind > 3 || transport > 2 {
        return Err(ProxyError::Family { found: family });
    }
    let needed = [0, INET, INET6, 2 * UNIX_PATH][usize::from(kind)];
    let block = bytes.get(..needed).ok_or(ProxyError::Addresses {
        found: bytes.len(),
        needed,
    })?;
    let addresses = match kind {
        // An unknown transport's addresses are there, and to be ignored.
        _ if transport == 0 => Addresses::Unspecified,
        1 => inet(block, <[u8; 4]>::try_from),
        2 => inet(block, <[u8; 16]>::try_from),
        3 => {
            let (source, destination) = block.split_at(UNIX_PATH);
            Addresses::Unix {
                source: path(source),
                destination: path(destination),
            }
        }
        _ => Addresses::Unspecified,
    };
    Ok((addresses, needed))
}

/// Two addresses, then two ports; `address` makes one of its octets.
fn inet<'a, A, E>(block: &'a [u8], address: fn(&'a [u8]) -> Result<A, E>) -> Addresses
where
    IpAddr: From<A>,
{
    let ends = block.split_last_chunk::<4>().and_then(|(ips, ports)| {
        let (source, destination) = ips.split_at(ips.len() / 2);
        let [p, q, r, s] = *ports;
        let source = IpAddr::from(address(source).ok()?);
        let destination = IpAddr::from(address(destination).ok()?);
        Some((
            SocketAddr::new(source, u16::from_be_bytes([p, q])),
            SocketAddr::new(destination, u16::from_be_bytes([r, s])),
        ))
    });
    // The block was cut to size.
    ends.map_or(Addresses::Unspecified, |(source, destination)| {
        Addresses::Inet {
            source,
            destination,
        }
    })
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
        let [_, high, low] = *rest.first_chunk::<TLV_FIXED>().ok_or(cut)?;
        let end = TLV_FIXED + usize::from(u16::from_be_bytes([high, low]));
        let value = rest.get(TLV_FIXED..end).ok_or(cut)?;
        self.at = at + end;
        Ok(Some(Tlv { kind, at, value }))
    }
}

impl Tlv<'_> {
    const fn invalid(&self, allowed: &'static str) -> ProxyError {
        ProxyError::Value {
            kind: self.kind,
            at: self.at,
            allowed,
        }
    }

    fn text(&self) -> Result<Option<String>, ProxyError> {
        let text = std::str::from_utf8(self.value).map(str::to_owned);
        text.map(Some).map_err(|_| self.invalid("UTF-8"))
    }
}

fn take(read: &mut Header, tlv: &Tlv<'_>, header: &[u8]) -> Result<(), ProxyError> {
    match tlv.kind {
        TYPE_ALPN => read.alpn = Some(Bytes::copy_from_slice(tlv.value)),
        TYPE_AUTHORITY => read.authority = tlv.text()?,
        TYPE_CRC32C => check_crc(tlv, header)?,
        TYPE_UNIQUE_ID if tlv.value.len() > MAX_UNIQUE_ID => {
            return Err(tlv.invalid("at most 128 bytes"));
        }
        TYPE_UNIQUE_ID => read.unique_id = Some(Bytes::copy_from_slice(tlv.value)),
        TYPE_SSL => read.tls = tls(tlv)?,
        // These types are free for applications, so another's value is no fault.
        TYPE_TRANSPORT => read.transport = Transport::from_name(tlv.value),
        TYPE_EXPORTER => read.bindings.exporter = tlv.value.try_into().ok(),
        TYPE_END_POINT => {
            let hash = Some(tlv.value).filter(|hash| END_POINT.contains(&hash.len()));
            read.bindings.end_point = hash.map(Bytes::copy_from_slice);
        }
        TYPE_UNIQUE => read.bindings.unique = tlv.value.try_into().ok(),
        TYPE_FIELDS => read.fields = Some(Bytes::copy_from_slice(tlv.value)),
        TYPE_TAKEOVER => {
            let token = Some(tlv.value).filter(|token| token.len() <= MAX_TAKEOVER);
            read.takeover = token.map(Bytes::copy_from_slice);
        }
        _ => {}
    }
    Ok(())
}

fn tls(tlv: &Tlv<'_>) -> Result<Option<Tls>, ProxyError> {
    let fixed = tlv.value.first_chunk::<SSL_FIXED>();
    let [flags, verify @ ..] = *fixed.ok_or(tlv.invalid("at least 5 bytes"))?;
    let mut tls = Tls {
        verified: flags & SSL_CLIENT_CERT != 0 && u32::from_be_bytes(verify) == 0,
        ..Tls::default()
    };
    let mut parts = Tlvs {
        bytes: tlv.value,
        at: SSL_FIXED,
    };
    while let Some(mut part) = parts.next().map_err(|_| tlv.invalid("whole sub-TLVs"))? {
        // Where it is in the header, not in the TLV around it.
        part.at += tlv.at + TLV_FIXED;
        match part.kind {
            TYPE_SSL_VERSION => tls.version = part.text()?,
            TYPE_SSL_CN => tls.common_name = part.text()?,
            TYPE_SSL_CIPHER => tls.cipher = part.text()?,
            TYPE_SSL_SIGNATURE => tls.signature_algorithm = part.text()?,
            TYPE_SSL_KEY => tls.key_algorithm = part.text()?,
            TYPE_SSL_CLIENT_CERT if part.value.len() > MAX_CERTIFICATE => {
                return Err(part.invalid("at most 8192 bytes"));
            }
            TYPE_SSL_CLIENT_CERT => tls.certificate = Some(Bytes::copy_from_slice(part.value)),
            _ => {}
        }
    }
    Ok((flags & SSL_CLIENT_SSL != 0).then_some(tls))
}

/// The checksum is that of the whole header with zeros in its own place.
fn check_crc(tlv: &Tlv<'_>, header: &[u8]) -> Result<(), ProxyError> {
    let found = <[u8; 4]>::try_from(tlv.value).map_err(|_| tlv.invalid("4 bytes"))?;
    let found = u32::from_be_bytes(found);
    let value = tlv.at + TLV_FIXED;
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

#[cfg(test)]
mod tests {
    use super::crc32c;

    /// RFC 3720, appendix B.4, and the check value of the CRC catalogues.
    #[test]
    fn checksums_that_others_computed() {
        for (bytes, crc) in [
            (&b"123456789"[..], 0xe306_9283),
            (&[0; 32], 0x8a91_36aa),
            (&[0xff; 32], 0x62a8_ab43),
        ] {
            assert_eq!(crc32c(bytes.iter().copied()), crc, "{bytes:?}");
        }
    }
}

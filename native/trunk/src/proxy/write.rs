//! Writing a header.

use std::net::SocketAddr;

use super::{
    Addresses, Command, END_POINT, Header, MAX_CERTIFICATE, MAX_FIELDS, MAX_TAKEOVER,
    MAX_UNIQUE_ID, SIGNATURE,
};
use super::{
    TYPE_ALPN, TYPE_AUTHORITY, TYPE_END_POINT, TYPE_EXPORTER, TYPE_FIELDS, TYPE_SSL,
    TYPE_SSL_CIPHER, TYPE_SSL_CLIENT_CERT, TYPE_SSL_CN, TYPE_SSL_KEY, TYPE_SSL_SIGNATURE,
    TYPE_SSL_VERSION, TYPE_TAKEOVER, TYPE_TRANSPORT, TYPE_UNIQUE, TYPE_UNIQUE_ID,
};

/// The longest text that is written, in bytes: a longer host or name is left out.
const MAX_TEXT: usize = 255;
const STREAM: u8 = 1;
const UNIX_PATH: usize = 108;

/// Appends a header. What can't be said in one is left out: texts over 255 bytes, an id over 128,
/// addresses of two families, a path over 108.
pub fn write(header: &Header, out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&SIGNATURE);
    out.push(match header.command {
        Command::Local => 0x20,
        Command::Proxy => 0x21,
    });
    let family = out.len();
    out.extend_from_slice(&[0, 0, 0]);
    out[family] = put_addresses(&header.addresses, out);
    put_tlvs(header, out);
    // All parts are bounded, together far below 64 KiB.
    let length = u16::try_from(out.len() - start - super::FIXED).unwrap_or(u16::MAX);
    out[family + 1..family + 3].copy_from_slice(&length.to_be_bytes());
}

/// Appends the addresses; the family's byte.
fn put_addresses(addresses: &Addresses, out: &mut Vec<u8>) -> u8 {
    match addresses {
        Addresses::Inet {
            source: SocketAddr::V4(source),
            destination: SocketAddr::V4(destination),
        } => {
            out.extend_from_slice(&source.ip().octets());
            out.extend_from_slice(&destination.ip().octets());
            out.extend_from_slice(&source.port().to_be_bytes());
            out.extend_from_slice(&destination.port().to_be_bytes());
            0x10 | STREAM
        }
        Addresses::Inet {
            source: SocketAddr::V6(source),
            destination: SocketAddr::V6(destination),
        } => {
            out.extend_from_slice(&source.ip().octets());
            out.extend_from_slice(&destination.ip().octets());
            out.extend_from_slice(&source.port().to_be_bytes());
            out.extend_from_slice(&destination.port().to_be_bytes());
            0x20 | STREAM
        }
        Addresses::Unix {
            source,
            destination,
        } if source.len() <= UNIX_PATH && destination.len() <= UNIX_PATH => {
            for path in [source, destination] {
                out.extend_from_slice(path);
                out.resize(out.len() + UNIX_PATH - path.len(), 0);
            }
            0x30 | STREAM
        }
        _ => 0,
    }
}

fn put_tlvs(header: &Header, out: &mut Vec<u8>) {
    if let Some(alpn) = &header.alpn {
        put_tlv(out, TYPE_ALPN, alpn, MAX_TEXT);
    }
    if let Some(authority) = &header.authority {
        put_tlv(out, TYPE_AUTHORITY, authority.as_bytes(), MAX_TEXT);
    }
    if let Some(unique_id) = &header.unique_id {
        put_tlv(out, TYPE_UNIQUE_ID, unique_id, MAX_UNIQUE_ID);
    }
    if let Some(tls) = &header.tls {
        // Client flags: by TLS, and with a certificate if it was verified; then the result, where
        // 0 is verified.
        let mut value = if tls.verified {
            vec![3, 0, 0, 0, 0]
        } else {
            vec![1, 0, 0, 0, 1]
        };
        for (kind, text) in [
            (TYPE_SSL_VERSION, &tls.version),
            (TYPE_SSL_CN, &tls.common_name),
            (TYPE_SSL_CIPHER, &tls.cipher),
            (TYPE_SSL_SIGNATURE, &tls.signature_algorithm),
            (TYPE_SSL_KEY, &tls.key_algorithm),
        ] {
            if let Some(text) = text {
                put_tlv(&mut value, kind, text.as_bytes(), MAX_TEXT);
            }
        }
        if let Some(certificate) = &tls.certificate {
            put_tlv(
                &mut value,
                TYPE_SSL_CLIENT_CERT,
                certificate,
                MAX_CERTIFICATE,
            );
        }
        put_tlv(out, TYPE_SSL, &value, usize::from(u16::MAX));
    }
    if let Some(transport) = header.transport {
        put_tlv(out, TYPE_TRANSPORT, transport.name().as_bytes(), MAX_TEXT);
    }
    if let Some(exporter) = &header.bindings.exporter {
        put_tlv(out, TYPE_EXPORTER, exporter, exporter.len());
    }
    if let Some(end_point) = &header.bindings.end_point {
        put_tlv(out, TYPE_END_POINT, end_point, *END_POINT.end());
    }
    if let Some(unique) = &header.bindings.unique {
        put_tlv(out, TYPE_UNIQUE, unique, unique.len());
    }
    if let Some(fields) = &header.fields {
        put_tlv(out, TYPE_FIELDS, fields, MAX_FIELDS);
    }
    if let Some(token) = &header.takeover {
        put_tlv(out, TYPE_TAKEOVER, token, MAX_TAKEOVER);
    }
}

fn put_tlv(out: &mut Vec<u8>, kind: u8, value: &[u8], most: usize) {
    match u16::try_from(value.len()) {
        Ok(length) if value.len() <= most => {
            out.push(kind);
            out.extend_from_slice(&length.to_be_bytes());
            out.extend_from_slice(value);
        }
        _ => {}
    }
}

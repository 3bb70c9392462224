//! What TLS 1.3 exports.

use ring::digest::{SHA256, SHA384, digest};
use ring::hkdf::{HKDF_SHA256, HKDF_SHA384, Prk};

/// RFC 8446, section 7.5, with an empty context. The suite's hash is as long as its secrets.
pub fn export(secret: &[u8], label: &[u8]) -> Option<[u8; 32]> {
    let (hkdf, hash) = match secret.len() {
        32 => (HKDF_SHA256, &SHA256),
        48 => (HKDF_SHA384, &SHA384),
        _ => return None,
    };
    let nothing = digest(hash, b"");
    let mut derived = vec![0; secret.len()];
    let prk = Prk::new_less_safe(hkdf, secret);
    let info = info(secret.len(), label, nothing.as_ref());
    prk.expand(&[&info], hkdf).ok()?.fill(&mut derived).ok()?;
    let mut exported = [0; 32];
    let prk = Prk::new_less_safe(hkdf, &derived);
    let info = self::info(exported.len(), b"exporter", nothing.as_ref());
    // For its length alone.
    let length = HKDF_SHA256;
    prk.expand(&[&info], length)
        .ok()?
        .fill(&mut exported)
        .ok()?;
    Some(exported)
}

/// `HkdfLabel` (RFC 8446, section 7.1), of parts that are all shorter than 256 bytes.
fn info(length: usize, label: &[u8], context: &[u8]) -> Vec<u8> {
    const PREFIX: &[u8] = b"tls13 ";
    let byte = |length: usize| u8::try_from(length).unwrap_or(u8::MAX);
    let mut info = vec![0, byte(length), byte(PREFIX.len() + label.len())];
    info.extend_from_slice(PREFIX);
    info.extend_from_slice(label);
    info.push(byte(context.len()));
    info.extend_from_slice(context);
    info
}

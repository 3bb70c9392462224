//! `tls-server-end-point` (RFC 5929, section 4): a certificate's hash.

use bytes::Bytes;
use ring::digest::{self, SHA256, SHA384, SHA512, digest};

use crate::der::element;

/// The hash of a certificate by the function that its signature has (RFC 5929, section 4.1). `None` if that has
/// none, or more than one.
pub fn end_point(certificate: &[u8]) -> Option<Bytes> {
    let hash = signature_hash(certificate)?;
    Some(Bytes::copy_from_slice(digest(hash, certificate).as_ref()))
}

fn signature_hash(certificate: &[u8]) -> Option<&'static digest::Algorithm> {
    // The signature's algorithm follows what is signed (RFC 5280, section 4.1).
    let fields = element(certificate)?.contents;
    let algorithm = element(element(fields)?.rest)?.contents;
    match element(algorithm)?.contents {
        // With RSA (RFC 8017, appendix C): MD5 and SHA-1, which are too weak, and SHA-256; SHA-384; SHA-512.
        b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x04"
        | b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05"
        | b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b" => Some(&SHA256),
        b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c" => Some(&SHA384),
        b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d" => Some(&SHA512),
        // With ECDSA (RFC 5758, section 3.2): SHA-1 and SHA-256; SHA-384; SHA-512.
        b"\x2a\x86\x48\xce\x3d\x04\x01" | b"\x2a\x86\x48\xce\x3d\x04\x03\x02" => Some(&SHA256),
        b"\x2a\x86\x48\xce\x3d\x04\x03\x03" => Some(&SHA384),
        b"\x2a\x86\x48\xce\x3d\x04\x03\x04" => Some(&SHA512),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SignatureAlgorithm};

    use super::*;

    fn certificate(algorithm: &'static SignatureAlgorithm) -> rcgen::Certificate {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let params = CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.self_signed(&key).unwrap()
    }

    #[test]
    fn a_certificate_is_hashed_as_it_was_signed() {
        for (algorithm, hash) in [
            (&rcgen::PKCS_ECDSA_P256_SHA256, Some(&SHA256)),
            (&rcgen::PKCS_ECDSA_P384_SHA384, Some(&SHA384)),
            (&rcgen::PKCS_ED25519, None),
        ] {
            let certificate = certificate(algorithm);
            let expected = hash.map(|hash| digest(hash, certificate.der()));
            let expected = expected.map(|digest| Bytes::copy_from_slice(digest.as_ref()));
            assert_eq!(end_point(certificate.der()), expected, "{algorithm:?}");
        }
    }

    #[test]
    fn what_is_no_certificate_has_no_hash() {
        let certificate = certificate(&rcgen::PKCS_ECDSA_P256_SHA256);
        let der = certificate.der();
        for length in 0..der.len() {
            assert_eq!(end_point(&der[..length]), None, "{length} bytes");
        }
    }
}

//! The names of TLS versions and ciphers.

use tokio_rustls::rustls::{CipherSuite, ProtocolVersion};

/// As in OpenSSL, whose names PROXY headers have.
pub fn version_name(version: ProtocolVersion) -> String {
    match version {
        ProtocolVersion::TLSv1_2 => "TLSv1.2".to_owned(),
        ProtocolVersion::TLSv1_3 => "TLSv1.3".to_owned(),
        other => format!("{other:?}"),
    }
}

/// As in OpenSSL: `ECDHE-RSA-AES128-GCM-SHA256` for the suites of TLS 1.2, and for those of 1.3 the
/// names of RFC 8446.
pub fn cipher_name(suite: CipherSuite) -> String {
    let name = format!("{suite:?}");
    if let Some(name) = name.strip_prefix("TLS13_") {
        return format!("TLS_{name}");
    }
    name.trim_start_matches("TLS_")
        .replace("_WITH_", "-")
        .replace("AES_128", "AES128")
        .replace("AES_256", "AES256")
        .replace("POLY1305_SHA256", "POLY1305")
        .replace('_', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_openssl() {
        for (suite, name) in [
            (
                CipherSuite::TLS13_AES_256_GCM_SHA384,
                "TLS_AES_256_GCM_SHA384",
            ),
            (
                CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
                "TLS_CHACHA20_POLY1305_SHA256",
            ),
            (
                CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
                "ECDHE-RSA-AES128-GCM-SHA256",
            ),
            (
                CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
                "ECDHE-ECDSA-AES256-GCM-SHA384",
            ),
            (
                CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
                "ECDHE-RSA-CHACHA20-POLY1305",
            ),
        ] {
            assert_eq!(cipher_name(suite), name);
        }
        assert_eq!(version_name(ProtocolVersion::TLSv1_3), "TLSv1.3");
    }
}

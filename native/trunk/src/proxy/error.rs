//! What can be wrong with a header.

/// Why bytes are no PROXY header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProxyError {
    /// The first bytes are not the signature of version 2, nor `PROXY` where version 1 may come.
    #[error("byte {index} is 0x{found:02x}, which is in no PROXY header there")]
    Signature {
        /// Which byte, from 0.
        index: usize,
        /// The byte that was found.
        found: u8,
    },
    /// The version is not 2.
    #[error("version {found} of the PROXY protocol; it must be 2")]
    Version {
        /// The version that was found.
        found: u8,
    },
    /// The command is neither LOCAL nor PROXY.
    #[error("command {found} in a PROXY header; allowed are 0 (LOCAL) and 1 (PROXY)")]
    Command {
        /// The command that was found.
        found: u8,
    },
    /// The header is longer than is read.
    #[error("a PROXY header of {found} bytes after its first 16; at most {limit} are allowed")]
    TooLong {
        /// The length that was found, in bytes.
        found: usize,
        /// The most that is read, in bytes.
        limit: usize,
    },
    /// The address family or the transport is unknown.
    #[error(
        "family and transport 0x{found:02x} at byte 13 of a PROXY header, each half has to be known: \
         0 to 3 and 0 to 2"
    )]
    Family {
        /// The byte that was found: the family in its high half, the transport in its low one.
        found: u8,
    },
    /// The addresses do not fit the header's length.
    #[error("{found} bytes for addresses in a PROXY header; their family takes {needed}")]
    Addresses {
        /// How many bytes there are.
        found: usize,
        /// How many the family takes.
        needed: usize,
    },
    /// A TLV is cut off by the header's end.
    #[error("TLV 0x{kind:02x} at byte {at} of a PROXY header goes past its end")]
    Tlv {
        /// The TLV's type.
        kind: u8,
        /// Where the TLV starts.
        at: usize,
    },
    /// A TLV's value is not what its type says.
    #[error("TLV 0x{kind:02x} at byte {at} of a PROXY header must be {allowed}")]
    Value {
        /// The TLV's type.
        kind: u8,
        /// Where the TLV starts.
        at: usize,
        /// What its value has to be.
        allowed: &'static str,
    },
    /// The CRC32c does not match.
    #[error("the CRC32c of a PROXY header is 0x{found:08x}; it must be 0x{computed:08x}")]
    Checksum {
        /// The checksum in the header.
        found: u32,
        /// That of its bytes.
        computed: u32,
    },
    /// A header of version 1 does not end where it has to.
    #[error("a PROXY line has no CRLF within its first {limit} bytes")]
    LineTooLong {
        /// The longest line there is, in bytes.
        limit: usize,
    },
    /// A header of version 1 has something else in a place.
    #[error("a PROXY line must have {expected} at byte {at}")]
    Line {
        /// Where, counted from the start of the line.
        at: usize,
        /// What has to be there.
        expected: &'static str,
    },
}

impl ProxyError {
    /// The error's name in counters: `proxy_signature` ...
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Signature { .. } => "proxy_signature",
            Self::Version { .. } => "proxy_version",
            Self::Command { .. } => "proxy_command",
            Self::TooLong { .. } => "proxy_too_long",
            Self::Family { .. } => "proxy_family",
            Self::Addresses { .. } => "proxy_addresses",
            Self::Tlv { .. } => "proxy_tlv",
            Self::Value { .. } => "proxy_value",
            Self::Checksum { .. } => "proxy_checksum",
            Self::LineTooLong { .. } => "proxy_line_too_long",
            Self::Line { .. } => "proxy_line",
        }
    }
}

//! The `Connection` field of requests and answers (RFC 9110, section 7.6.1).

/// The tokens of `Connection` that matter here.
#[derive(Clone, Copy, Default)]
pub(crate) struct Connection {
    pub close: bool,
    pub keep_alive: bool,
    pub upgrade: bool,
}

impl Connection {
    /// Adds the tokens of one `Connection` field; there may be several.
    pub fn note(&mut self, value: &[u8]) {
        for token in value.split(|byte| *byte == b',') {
            let token = token.trim_ascii();
            self.close |= token.eq_ignore_ascii_case(b"close");
            self.keep_alive |= token.eq_ignore_ascii_case(b"keep-alive");
            self.upgrade |= token.eq_ignore_ascii_case(b"upgrade");
        }
    }
}

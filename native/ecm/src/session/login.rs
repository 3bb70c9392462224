//! How far a client's login has come, as what ejabberd sends shows it: the one rule for all entrances.

use megaphone_xmpp::Limits;
use megaphone_xmpp::framing::{Kind, has_resource};

use crate::config::LimitsConfig;

/// The largest document of a client that has not logged in, and may be anybody: no login needs more. With BOSH
/// it is the largest body of a request.
pub const MAX_BEFORE_LOGIN: usize = 64 * 1024;

/// What a client's document may cost.
pub fn document_limits(limits: &LimitsConfig, is_logged_in: bool) -> Limits {
    limits.of_document(if is_logged_in {
        usize::MAX
    } else {
        MAX_BEFORE_LOGIN
    })
}

/// How far a client's login has come.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum LoginProgress {
    /// The client has to say who it is.
    #[default]
    Pending,
    /// An IQ stanza came, which ejabberd sends to nobody else but in answer to a login of before SASL, or a
    /// registration. ejabberd's own deadline holds for these.
    Answered,
    /// The client has logged in, and has to get its resource (RFC 6120, section 7).
    LoggedIn,
    /// It has its resource.
    Online,
}

/// What a document of ejabberd's did to a login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoginStep {
    /// Nothing that counts.
    None,
    /// It failed; the client may try again.
    Failed,
    /// The client has logged in by SASL.
    LoggedIn,
}

impl LoginProgress {
    /// Whether the client has logged in, as far as that shows: what lifts the limits of one that may be anybody. Of a
    /// login of before SASL it shows with the first message or presence.
    pub const fn is_logged_in(self) -> bool {
        matches!(self, Self::LoggedIn | Self::Online)
    }

    /// Whether the time that it takes is looked after here.
    pub fn is_timed(self) -> bool {
        self == Self::Pending
    }

    /// ejabberd has sent a document.
    pub fn server_sent(&mut self, document: &[u8]) -> LoginStep {
        if *self == Self::Online {
            return LoginStep::None;
        }
        match (*self, Kind::of(document)) {
            (Self::LoggedIn, Some(Kind::Iq | Kind::Resumed))
            // The latter came in by an older way than SASL.
            | (_, Some(Kind::Message | Kind::Presence)) => *self = Self::Online,
            (Self::LoggedIn, _) => {}
            (_, Some(Kind::Success)) => {
                *self = Self::LoggedIn;
                return LoginStep::LoggedIn;
            }
            (_, Some(Kind::Success2)) => {
                *self = if has_resource(document) {
                    Self::Online
                } else {
                    Self::LoggedIn
                };
                return LoginStep::LoggedIn;
            }
            (_, Some(Kind::Iq)) => *self = Self::Answered,
            (_, Some(Kind::Failure)) => return LoginStep::Failed,
            _ => {}
        }
        LoginStep::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_shows_in_what_passes() {
        for (document, expected) in [
            ("<success xmlns='urn:ietf:params:xml:ns:xmpp-sasl'/>", true),
            ("<success xmlns='urn:xmpp:sasl:2'>", true),
            ("<message/>", true),
            ("<presence/>", true),
            // Anybody gets one, with an error say.
            ("<iq type='result'/>", false),
            ("<iq type='error'/>", false),
            ("<success/>", false),
            ("<successes xmlns='urn:xmpp:sasl:2'>", false),
            ("<success xmlns='urn:other'/>", false),
            ("<message xmlns='urn:other'/>", false),
            ("<presence xmlns='urn:other'/>", false),
            ("<iq xmlns='jabber:server'/>", false),
            ("<resumed xmlns='urn:xmpp:sm:3'/>", false),
            ("<open xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>", false),
            ("<stream:features/>", false),
            ("<challenge/>", false),
            ("<failure/>", false),
        ] {
            let mut login = LoginProgress::default();
            login.server_sent(document.as_bytes());
            assert_eq!(login.is_logged_in(), expected, "{document}");
            login.server_sent(b"<other/>");
            assert_eq!(login.is_logged_in(), expected, "{document}");
        }
    }
}

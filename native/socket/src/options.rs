//! The socket options that matter here: `active` and `packet`.

use megaphone_http::packet::{Packet, PacketKind};

use crate::sink::{Reason, Text};

/// `{active, true | false | once | N}` as it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Active {
    /// `false`: input waits for recv.
    Passive,
    /// `once`: one message, then passive.
    Once,
    /// `true`: a message for all that comes.
    Always,
    /// `N`: this many messages, then passive, and the owner is told so.
    Count(i16),
}

/// What setopts asks of `active`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ActiveChange {
    /// `true`, `false` or `once`.
    To(Active),
    /// `N`: is added to the count there is.
    Add(i32),
}

impl Active {
    /// The new state, and whether the owner must be told `{tcp_passive, S}`; `einval` past
    /// the 16-bit count, as inet says.
    pub(crate) fn change(self, change: ActiveChange) -> Result<(Self, bool), Reason> {
        let add = match change {
            ActiveChange::To(active) => return Ok((active, false)),
            ActiveChange::Add(add) => add,
        };
        let before = match self {
            Self::Count(count) => i32::from(count),
            _ => 0,
        };
        let outside = |count: i32| i16::try_from(count).is_err();
        let count = before.saturating_add(add);
        if outside(add) || outside(count) {
            return Err(Reason::Invalid);
        }
        Ok(match i16::try_from(count) {
            Ok(count) if count > 0 => (Self::Count(count), false),
            _ => (Self::Passive, true),
        })
    }

    /// The state after one message was sent, and whether `{tcp_passive, S}` is due.
    pub(crate) fn after_message(self) -> (Self, bool) {
        match self {
            Self::Passive | Self::Once => (Self::Passive, false),
            Self::Always => (Self::Always, false),
            Self::Count(count) if count > 1 => (Self::Count(count - 1), false),
            Self::Count(_) => (Self::Passive, true),
        }
    }
}

/// `{packet, raw | http | http_bin | httph | httph_bin}` as it stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// `raw` or `0`: bytes.
    Raw,
    /// The http modes: a line at a time.
    Http {
        /// Which line is due.
        line: Line,
        /// How its strings are given.
        text: Text,
    },
}

impl Mode {
    /// The mode as it stands when it is set on a socket that waits for `due`: inet goes on in the
    /// midst of a head, whatever modes were set meanwhile.
    pub(crate) fn set_at(self, due: Line) -> Self {
        match self {
            Self::Http {
                line: Line::Start,
                text,
            } => Self::Http { line: due, text },
            mode => mode,
        }
    }

    pub(crate) fn after(self, packet: &Packet<'_>) -> Self {
        match self {
            Self::Http { line, text } if line != Line::HeadersOnly => Self::Http {
                line: line.due_after(packet),
                text,
            },
            mode => mode,
        }
    }
}

/// Where in an HTTP head a socket in a http mode is: inet switches by itself from the first
/// line to the headers and back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Line {
    /// `http`: the request or status line.
    Start,
    /// `http`: a header, the first line was read.
    Headers,
    /// `httph`: a header, whatever was read.
    HeadersOnly,
}

impl Line {
    pub(crate) fn kind(self) -> PacketKind {
        match self {
            Self::Start => PacketKind::Http,
            Self::Headers | Self::HeadersOnly => PacketKind::Httph,
        }
    }

    /// What mode `http` waits for behind a packet.
    pub(crate) fn due_after(self, packet: &Packet<'_>) -> Self {
        match (self, packet) {
            (_, Packet::EndOfHeaders) => Self::Start,
            (_, Packet::Request { .. } | Packet::Response { .. }) | (Self::HeadersOnly, _) => {
                Self::Headers
            }
            (line, _) => line,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_as_inet_adds_them() {
        let add = |active: Active, n| active.change(ActiveChange::Add(n));
        for (before, n, expected) in [
            (Active::Passive, 5, Ok((Active::Count(5), false))),
            (Active::Always, 5, Ok((Active::Count(5), false))),
            (Active::Count(3), 4, Ok((Active::Count(7), false))),
            (Active::Count(3), -3, Ok((Active::Passive, true))),
            (Active::Count(3), -9, Ok((Active::Passive, true))),
            (Active::Passive, 0, Ok((Active::Passive, true))),
            (Active::Count(1), 32767, Err(Reason::Invalid)),
            (Active::Passive, 32768, Err(Reason::Invalid)),
            (Active::Passive, i32::MIN, Err(Reason::Invalid)),
        ] {
            assert_eq!(add(before, n), expected, "{before:?} and {n}");
        }
    }

    #[test]
    fn a_count_ends_with_the_message_that_says_so() {
        assert_eq!(Active::Count(2).after_message(), (Active::Count(1), false));
        assert_eq!(Active::Count(1).after_message(), (Active::Passive, true));
        assert_eq!(Active::Once.after_message(), (Active::Passive, false));
    }

    #[test]
    fn a_mode_that_is_set_again_goes_on_with_the_head() {
        let http = |line| Mode::Http {
            line,
            text: Text::Binary,
        };
        let header = Packet::Error(b"any line but the last of a head");
        assert_eq!(http(Line::Start).set_at(Line::Headers), http(Line::Headers));
        assert_eq!(
            http(Line::HeadersOnly).set_at(Line::Start),
            http(Line::HeadersOnly)
        );
        assert_eq!(Mode::Raw.set_at(Line::Headers), Mode::Raw);
        assert_eq!(Line::HeadersOnly.due_after(&header), Line::Headers);
        assert_eq!(
            Line::HeadersOnly.due_after(&Packet::EndOfHeaders),
            Line::Start
        );
        assert_eq!(
            http(Line::HeadersOnly).after(&Packet::EndOfHeaders),
            http(Line::HeadersOnly)
        );
    }
}

//! `<stream:features/>` of ejabberd, whose STARTTLS is not for the client: TLS ends at this program.

use memchr::memmem::{find, find_iter};

const NAMED: &[u8] = b"<starttls";
const END: &[u8] = b"</starttls>";

/// STARTTLS as a feature (RFC 6120, section 5.4.1).
const OPTIONAL: &[u8] = b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";

/// The one feature of a stream that goes on with TLS or not at all.
pub const TLS_IS_REQUIRED: &[u8] = b"<stream:features \
    xmlns:stream='http://etherx.jabber.org/streams'>\
    <starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>";

/// What is said of STARTTLS instead of what ejabberd says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// That it may be used.
    Optional,
    /// Nothing.
    Nothing,
}

/// Writes a well-formed `<stream:features/>` with another offer of STARTTLS.
pub fn with_offer(features: &[u8], offer: Offer) -> Vec<u8> {
    let (start, end) = starttls(features).unwrap_or_else(|| {
        let at = root_tag_end(features);
        (at, at)
    });
    let offered = match offer {
        Offer::Optional => OPTIONAL,
        Offer::Nothing => b"",
    };
    let (before, rest) = features.split_at_checked(start).unwrap_or((features, b""));
    let after = rest.get(end - start..).unwrap_or_default();
    let mut out = Vec::with_capacity(features.len() + OPTIONAL.len());
    out.extend_from_slice(before);
    // There is no feature, and nothing between two tags.
    if let Some(tag) = before.strip_suffix(b"/>")
        && after.is_empty()
        && !offered.is_empty()
    {
        out.truncate(tag.len());
        out.push(b'>');
        out.extend_from_slice(offered);
        out.extend_from_slice(b"</");
        let name = tag.get(1..).unwrap_or_default();
        let length = name.iter().position(u8::is_ascii_whitespace);
        out.extend_from_slice(name.get(..length.unwrap_or(name.len())).unwrap_or_default());
        out.push(b'>');
        return out;
    }
    out.extend_from_slice(offered);
    out.extend_from_slice(after);
    out
}

/// Where the feature stands. In XML that ejabberd writes, `<` is nothing but a tag's start.
fn starttls(features: &[u8]) -> Option<(usize, usize)> {
    let start = find_iter(features, NAMED).find(|at| {
        let after = features.get(at + NAMED.len());
        after.is_some_and(|byte| byte.is_ascii_whitespace() || matches!(byte, b'/' | b'>'))
    })?;
    let rest = features.get(start..)?;
    let tag = tag_end(rest)?;
    let end = if rest.get(..tag)?.ends_with(b"/>") {
        tag
    } else {
        find(rest, END)? + END.len()
    };
    Some((start, start + end))
}

fn root_tag_end(features: &[u8]) -> usize {
    tag_end(features).unwrap_or(features.len())
}

/// The end of the tag at the front; a `>` in an attribute's value is none.
fn tag_end(tag: &[u8]) -> Option<usize> {
    let mut quote = None;
    for (at, byte) in tag.iter().enumerate() {
        match (quote, byte) {
            (None, b'>') => return Some(at + 1),
            (None, b'\'' | b'"') => quote = Some(*byte),
            (Some(open), byte) if open == *byte => quote = None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ejabberd_offers_is_replaced() {
        const OURS: &str = "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>";
        let root = "<stream:features xmlns:stream='http://etherx.jabber.org/streams'>";
        for (inside, optional, nothing) in [
            ("<a/>", format!("{OURS}<a/>"), "<a/>"),
            (
                "<starttls-b xmlns='urn:b'/>",
                format!("{OURS}<starttls-b xmlns='urn:b'/>"),
                "<starttls-b xmlns='urn:b'/>",
            ),
            (
                "<a/><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/><b/>",
                format!("<a/>{OURS}<b/>"),
                "<a/><b/>",
            ),
            (
                "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls>",
                OURS.to_owned(),
                "",
            ),
        ] {
            for (offer, expected) in [
                (Offer::Optional, optional.as_str()),
                (Offer::Nothing, nothing),
            ] {
                let features = format!("{root}{inside}</stream:features>");
                let written = with_offer(features.as_bytes(), offer);
                assert_eq!(
                    String::from_utf8(written).unwrap(),
                    format!("{root}{expected}</stream:features>"),
                    "{offer:?}"
                );
            }
        }
    }

    #[test]
    fn no_features_are_some_then() {
        for empty in [
            "<stream:features xmlns:stream='http://etherx.jabber.org/streams'/>",
            "<stream:features/>",
        ] {
            let nothing = with_offer(empty.as_bytes(), Offer::Nothing);
            assert_eq!(String::from_utf8(nothing).unwrap(), empty);
            let tag = empty.strip_suffix("/>").unwrap();
            let optional = with_offer(empty.as_bytes(), Offer::Optional);
            assert_eq!(
                String::from_utf8(optional).unwrap(),
                format!(
                    "{tag}><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/></stream:features>"
                )
            );
        }
    }
}

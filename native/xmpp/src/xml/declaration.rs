//! The XML declaration, `<?xml version='1.0' encoding='UTF-8'?>` (RFC 6120, 11.5).

use super::characters::{is_space, skip_space};
use crate::error::XmlError;
use crate::limits::MAX_DECLARATION;

/// The names of UTF-8 and of what is the same in it.
const UTF_8: [&[u8]; 4] = [b"UTF-8", b"UTF8", b"US-ASCII", b"ASCII"];

/// What stands at the start of a stream or document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Declaration {
    /// No declaration.
    None,
    /// One that ends before this place.
    Ends(usize),
    /// More bytes are needed to know.
    Partial,
}

/// What decides in which encoding a text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Encoding {
    /// The text, which has to say UTF-8 if it says anything.
    Declared,
    /// Who sends it: what the text says has no say (RFC 7303, section 3).
    Given,
}

/// Looks for an XML declaration at the start of `bytes`.
pub(crate) fn declaration(bytes: &[u8], encoding: Encoding) -> Result<Declaration, XmlError> {
    const START: &[u8] = b"<?xml";
    // UTF-16 and UTF-32 start with a byte order mark or have a NUL beside the first `<`.
    if matches!(bytes, [0xfe | 0xff | 0, ..] | [b'<', 0, ..]) {
        return Err(XmlError::UnsupportedEncoding);
    }
    if bytes.len() <= START.len() {
        return Ok(if START.starts_with(bytes) && !bytes.is_empty() {
            Declaration::Partial
        } else {
            Declaration::None
        });
    }
    let Some(rest) = bytes.strip_prefix(START) else {
        return Ok(Declaration::None);
    };
    if !rest.first().is_some_and(|byte| is_space(*byte)) {
        return Err(XmlError::ProcessingInstruction { at: 0 });
    }
    let within = rest.get(..MAX_DECLARATION).unwrap_or(rest);
    match memchr::memmem::find(within, b"?>") {
        Some(length) => {
            check(rest.get(..length).unwrap_or_default(), encoding)?;
            Ok(Declaration::Ends(START.len() + length + 2))
        }
        None if rest.len() >= MAX_DECLARATION => Err(XmlError::MalformedDeclaration),
        None => Ok(Declaration::Partial),
    }
}

fn check(mut rest: &[u8], given: Encoding) -> Result<(), XmlError> {
    let version = pseudo_attribute(&mut rest, b"version")?.ok_or(XmlError::MalformedDeclaration)?;
    let minor = version.strip_prefix(b"1.").unwrap_or_default();
    if minor.is_empty() || !minor.iter().all(u8::is_ascii_digit) {
        return Err(XmlError::MalformedDeclaration);
    }
    if let Some(encoding) = pseudo_attribute(&mut rest, b"encoding")? {
        let is_utf_8 = UTF_8.iter().any(|name| encoding.eq_ignore_ascii_case(name));
        match given {
            Encoding::Declared if !is_utf_8 => return Err(XmlError::UnsupportedEncoding),
            Encoding::Given if !is_name(encoding) => return Err(XmlError::MalformedDeclaration),
            Encoding::Declared | Encoding::Given => {}
        }
    }
    let standalone = pseudo_attribute(&mut rest, b"standalone")?;
    if !matches!(standalone, None | Some(b"yes" | b"no")) || skip_space(rest, 0) < rest.len() {
        return Err(XmlError::MalformedDeclaration);
    }
    Ok(())
}

/// Whether it is the name of an encoding (XML 1.0, 4.3.3).
fn is_name(encoding: &[u8]) -> bool {
    let (first, rest) = encoding.split_first().unwrap_or((&b' ', b""));
    first.is_ascii_alphabetic()
        && rest
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte))
}

/// Takes ` name='value'` from the start of `rest`, if it's there.
fn pseudo_attribute<'a>(rest: &mut &'a [u8], name: &[u8]) -> Result<Option<&'a [u8]>, XmlError> {
    let start = skip_space(rest, 0);
    let Some(after) = rest.get(start..).and_then(|rest| rest.strip_prefix(name)) else {
        return Ok(None);
    };
    let value = || {
        let after = after_space(after).strip_prefix(b"=")?;
        let after = after_space(after);
        let quote = after.first().filter(|byte| matches!(byte, b'\'' | b'"'))?;
        let inside = after.get(1..)?;
        let end = memchr::memchr(*quote, inside)?;
        Some((inside.get(..end)?, inside.get(end + 1..)?))
    };
    let (value, after) = value()
        .filter(|_| start > 0)
        .ok_or(XmlError::MalformedDeclaration)?;
    *rest = after;
    Ok(Some(value))
}

/// XML's white space, which has no form feed.
fn after_space(bytes: &[u8]) -> &[u8] {
    bytes.get(skip_space(bytes, 0)..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted() {
        for (text, length) in [
            ("<?xml version='1.0'?>", 21),
            ("<?xml version=\"1.0\" ?><a/>", 22),
            (
                "<?xml version = '1.1' encoding='utf-8' standalone='yes'?>",
                57,
            ),
            ("<?xml\nversion='1.0'\tencoding='UTF-8'?>", 38),
            ("<?xml version='1.0' encoding='utf8'?>", 37),
            ("<?xml version='1.0' encoding='us-ascii'?>", 41),
        ] {
            let all = text.as_bytes();
            assert_eq!(
                declaration(all, Encoding::Declared),
                Ok(Declaration::Ends(length)),
                "{text}"
            );
            for cut in 1..length {
                assert_eq!(
                    declaration(&all[..cut], Encoding::Declared),
                    Ok(Declaration::Partial),
                    "{text} {cut}"
                );
            }
        }
        for text in [
            "",
            "<a",
            "<stream:stream",
            "\u{feff}<a/>",
            " <?xml version='1.0'?>",
        ] {
            assert_eq!(
                declaration(text.as_bytes(), Encoding::Declared),
                Ok(Declaration::None),
                "{text}"
            );
        }
    }

    #[test]
    fn refused() {
        use XmlError::*;
        for (text, error) in [
            ("<?xml?>", ProcessingInstruction { at: 0 }),
            ("<?xml-stylesheet?>", ProcessingInstruction { at: 0 }),
            ("<?xml ?>", MalformedDeclaration),
            ("<?xml version='2.0'?>", MalformedDeclaration),
            ("<?xml version='1.'?>", MalformedDeclaration),
            ("<?xml version='1.0\"?>", MalformedDeclaration),
            (
                "<?xml version='1.0'encoding='UTF-8'?>",
                MalformedDeclaration,
            ),
            ("<?xml encoding='UTF-8'?>", MalformedDeclaration),
            (
                "<?xml version='1.0' standalone='maybe'?>",
                MalformedDeclaration,
            ),
            ("<?xml version='1.0' more='x'?>", MalformedDeclaration),
            ("<?xml version\x0c='1.0'?>", MalformedDeclaration),
            ("<?xml version=\x0c'1.0'?>", MalformedDeclaration),
            ("<?xml version='1.0'\x0c?>", MalformedDeclaration),
            (
                "<?xml version='1.0' encoding='ISO-8859-1'?>",
                UnsupportedEncoding,
            ),
            (
                "<?xml version='1.0' encoding='UTF-16'?>",
                UnsupportedEncoding,
            ),
        ] {
            assert_eq!(
                declaration(text.as_bytes(), Encoding::Declared),
                Err(error),
                "{text}"
            );
        }
        for bytes in [&b"\xfe\xff\0<"[..], b"\xff\xfe<\0", b"<\0?\0", b"\0<"] {
            assert_eq!(
                declaration(bytes, Encoding::Declared),
                Err(UnsupportedEncoding),
                "{bytes:?}"
            );
        }
        let endless = [&b"<?xml "[..], &[b' '; 1000]].concat();
        assert_eq!(
            declaration(&endless, Encoding::Declared),
            Err(MalformedDeclaration)
        );
    }

    #[test]
    fn what_is_given_is_not_declared() {
        let text = b"<?xml version='1.0' encoding='ISO-8859-1'?>";
        let found = declaration(text, Encoding::Given);
        assert_eq!(found, Ok(Declaration::Ends(text.len())));
        for bytes in [&b"\xfe\xff\0<"[..], b"<\0?\0"] {
            let refused = Err(XmlError::UnsupportedEncoding);
            assert_eq!(declaration(bytes, Encoding::Given), refused);
        }
    }
}

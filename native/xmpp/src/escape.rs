//! Text into XML and back.

use std::borrow::Cow;

/// `text` as character data or as an attribute's value in either quote.
///
/// The five predefined entities are used; tab and line ends become character references, since an
/// attribute would lose them; characters that XML 1.0 can't carry become U+FFFD.
pub fn escape(text: &str) -> Cow<'_, str> {
    let Some(first) = text.find(needs_escape) else {
        return Cow::Borrowed(text);
    };
    let mut escaped = String::with_capacity(text.len() + 16);
    let (plain, rest) = text.split_at(first);
    escaped.push_str(plain);
    for character in rest.chars() {
        match replacement(character) {
            Some(replacement) => escaped.push_str(replacement),
            None => escaped.push(character),
        }
    }
    Cow::Owned(escaped)
}

/// [`escape`], written at the end of `out`.
pub fn write_escaped(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(escape(text).as_bytes());
}

/// ` name='value'`, the value escaped, at the end of `out`.
pub(crate) fn write_attribute(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(b' ');
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"='");
    write_escaped(out, value);
    out.push(b'\'');
}

/// What the value of an attribute means: references resolved, white space normalised (XML 1.0, 3.3.3).
///
/// `raw` is a value that was checked; of one that wasn't, what can't be understood stays as it is.
pub(crate) fn unescape(raw: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(raw);
    if !text.bytes().any(|byte| byte == b'&' || byte < b' ') {
        return text;
    }
    let mut unescaped = String::with_capacity(text.len());
    let mut rest = &text[..];
    while let Some(character) = rest.chars().next() {
        let taken = match character {
            '&' => match reference(rest.as_bytes()) {
                Reference::Character(character, length) => {
                    unescaped.push(character);
                    length
                }
                _ => {
                    unescaped.push('&');
                    1
                }
            },
            '\r' if rest.as_bytes().get(1) == Some(&b'\n') => {
                unescaped.push(' ');
                2
            }
            '\t' | '\n' | '\r' => {
                unescaped.push(' ');
                1
            }
            other => {
                unescaped.push(other);
                other.len_utf8()
            }
        };
        rest = rest.get(taken..).unwrap_or_default();
    }
    Cow::Owned(unescaped)
}

/// Whether a value, as written, means this text, in which there is no space.
///
/// `raw` is a value that was checked. References only make it longer than what it means, and white space
/// stays what it is or becomes a space.
#[inline]
pub(crate) fn means(raw: &[u8], text: &str) -> bool {
    raw == text.as_bytes()
        || (raw.len() > text.len() && memchr::memchr(b'&', raw).is_some() && unescape(raw) == text)
}

/// What an `&` starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reference {
    /// A character, and the bytes from `&` to `;`.
    Character(char, usize),
    /// Its end isn't there yet.
    Partial,
    /// An entity that isn't one of the five.
    Entity,
    /// No reference, or one to a character that XML forbids.
    Malformed,
}

/// Bytes of a reference from `&` to `;`. `&#x10FFFF;` has 10; zeros in front make it longer.
const MAX_REFERENCE: usize = 24;

/// Reads the reference at the start of `bytes`, whose first byte is `&`.
pub(crate) fn reference(bytes: &[u8]) -> Reference {
    let body = bytes.get(1..).unwrap_or_default();
    let numeric = body.first() == Some(&b'#');
    let mut length = 0;
    for (index, byte) in body.iter().enumerate() {
        let fits = match byte {
            b';' => break,
            b'#' => index == 0,
            b'0'..=b'9' | b'-' | b'.' => index > 0,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | b':' => true,
            _ => false,
        };
        if !fits {
            return Reference::Malformed;
        }
        length = index + 1;
        if length + 2 > MAX_REFERENCE {
            return if numeric {
                Reference::Malformed
            } else {
                Reference::Entity
            };
        }
    }
    if length == body.len() {
        return Reference::Partial;
    }
    let character = match &body[..length] {
        b"lt" => Some('<'),
        b"gt" => Some('>'),
        b"amp" => Some('&'),
        b"apos" => Some('\''),
        b"quot" => Some('"'),
        [b'#', b'x', digits @ ..] => number(digits, 16),
        [b'#', digits @ ..] => number(digits, 10),
        b"" => None,
        _ => return Reference::Entity,
    };
    match character {
        Some(character) => Reference::Character(character, length + 2),
        None => Reference::Malformed,
    }
}

fn number(digits: &[u8], radix: u32) -> Option<char> {
    if digits.is_empty() {
        return None;
    }
    let mut number: u32 = 0;
    for digit in digits {
        let digit = char::from(*digit).to_digit(radix)?;
        number = number.checked_mul(radix)?.checked_add(digit)?;
    }
    char::from_u32(number).filter(|character| is_xml(*character))
}

/// XML 1.0's `Char`.
pub(crate) const fn is_xml(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | ' '..='\u{fffd}' | '\u{10000}'..)
}

fn needs_escape(character: char) -> bool {
    replacement(character).is_some()
}

const fn replacement(character: char) -> Option<&'static str> {
    Some(match character {
        '&' => "&amp;",
        '<' => "&lt;",
        '>' => "&gt;",
        '\'' => "&apos;",
        '"' => "&quot;",
        '\t' => "&#9;",
        '\n' => "&#10;",
        '\r' => "&#13;",
        other if is_xml(other) => return None,
        _ => "\u{fffd}",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_escaped_for_content_and_for_either_quote() {
        for (text, escaped) in [
            ("", ""),
            ("plain ä €", "plain ä €"),
            ("<&>'\"", "&lt;&amp;&gt;&apos;&quot;"),
            ("a\tb\r\nc", "a&#9;b&#13;&#10;c"),
            (
                "\0\u{b}\u{fffe}\u{ffff}\u{7f}",
                "\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{7f}",
            ),
        ] {
            assert_eq!(escape(text), escaped, "{text:?}");
        }
        assert!(matches!(escape("plain"), Cow::Borrowed(_)));
    }

    #[test]
    fn values_are_unescaped_and_normalised() {
        for (raw, value) in [
            ("", ""),
            ("a", "a"),
            ("&lt;&amp;&gt;&apos;&quot;", "<&>'\""),
            ("&#228;&#xE4;&#xe4;&#9;", "äää\t"),
            ("a\tb\nc\r\nd\re", "a b c d e"),
            ("ä&#x1F600;", "ä\u{1f600}"),
            ("a & b &nope; &", "a & b &nope; &"),
        ] {
            assert_eq!(unescape(raw.as_bytes()), value, "{raw:?}");
        }
    }

    #[test]
    fn references() {
        use Reference::*;
        for (bytes, expected) in [
            ("&lt;x", Character('<', 4)),
            ("&#65;", Character('A', 5)),
            ("&#x41;", Character('A', 6)),
            ("&#x10FFFF;", Character('\u{10ffff}', 10)),
            ("&#x00000000041;", Character('A', 15)),
            ("&", Partial),
            ("&l", Partial),
            ("&#", Partial),
            ("&#x", Partial),
            ("&#x1", Partial),
            ("&nope;", Entity),
            ("&a-b.c:d;", Entity),
            ("&abcdefghijklmnopqrstuvwxyz", Entity),
            ("&;", Malformed),
            ("&#;", Malformed),
            ("&#x;", Malformed),
            ("&#X41;", Malformed),
            ("&#-1;", Malformed),
            ("& ", Malformed),
            ("&1;", Malformed),
            ("&l t;", Malformed),
            ("&ä;", Malformed),
            ("&#0;", Malformed),
            ("&#11;", Malformed),
            ("&#xD800;", Malformed),
            ("&#xFFFE;", Malformed),
            ("&#xFFFF;", Malformed),
            ("&#x110000;", Malformed),
            ("&#99999999999;", Malformed),
            ("&#x000000000000000000000000041;", Malformed),
        ] {
            assert_eq!(reference(bytes.as_bytes()), expected, "{bytes}");
        }
    }
}

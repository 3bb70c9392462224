//! Which bytes may stand where.

use crate::error::XmlError;
use crate::escape::is_xml;

/// `:` isn't among the name characters: a name has at most one, which the scanner looks for.
const NAME: u8 = 1;
const TEXT: u8 = 2;
const VALUE: u8 = 4;
const SPACE: u8 = 8;

const CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut classes = [0; 256];
    let mut byte = 0;
    while byte < 128 {
        let mut class = 0;
        if matches!(byte as u8, b'a'..=b'z' | b'A'..=b'Z' | b'_' | b'0'..=b'9' | b'-' | b'.') {
            class |= NAME;
        }
        if matches!(byte as u8, b' ' | b'\t' | b'\n' | b'\r') {
            class |= SPACE;
        }
        let character = byte >= 32 || class & SPACE != 0;
        if character && !matches!(byte as u8, b'<' | b'&' | b'>') {
            class |= TEXT;
        }
        if character && !matches!(byte as u8, b'<' | b'&' | b'\'' | b'"') {
            class |= VALUE;
        }
        classes[byte] = class;
        byte += 1;
    }
    classes
}

#[inline]
pub(crate) fn is_space(byte: u8) -> bool {
    CLASSES[usize::from(byte)] & SPACE != 0
}

#[inline]
fn skip(bytes: &[u8], from: usize, class: u8) -> usize {
    let mut position = from;
    while let Some(byte) = bytes.get(position)
        && CLASSES[usize::from(*byte)] & class != 0
    {
        position += 1;
    }
    position
}

/// The first byte from `from` on that isn't white space.
pub(crate) fn skip_space(bytes: &[u8], from: usize) -> usize {
    skip(bytes, from, SPACE)
}

/// The first byte from `from` on that isn't plain ASCII text.
pub(crate) fn skip_text(bytes: &[u8], from: usize) -> usize {
    // `<` and `>` differ in one bit.
    skip_words(bytes, from, TEXT, |word| {
        zeros((word | repeat(0x02)) ^ repeat(b'>')) | zeros(word ^ repeat(b'&'))
    })
}

/// The first byte from `from` on that isn't plain ASCII of an attribute's value.
pub(crate) fn skip_value(bytes: &[u8], from: usize) -> usize {
    // `&`, `'`, `"` and `#` differ in two bits; the table lets `#` pass.
    skip_words(bytes, from, VALUE, |word| {
        zeros((word | repeat(0x05)) ^ repeat(b'\'')) | zeros(word ^ repeat(b'<'))
    })
}

/// Skips printable ASCII eight bytes at once: `stops` marks the highest bit of bytes that may not be of
/// this class, of the lowest such byte at least.
#[inline]
fn skip_words(bytes: &[u8], from: usize, class: u8, stops: impl Fn(u64) -> u64) -> usize {
    let mut position = from;
    while let Some(word) = bytes.get(position..).and_then(<[u8]>::first_chunk::<8>) {
        let word = u64::from_le_bytes(*word);
        let beyond_ascii = word & repeat(0x80);
        let control = word.wrapping_sub(repeat(b' ')) & !word & repeat(0x80);
        let marked = stops(word) | beyond_ascii | control;
        if marked == 0 {
            position += 8;
            continue;
        }
        position += marked.trailing_zeros() as usize / 8;
        match bytes.get(position) {
            Some(byte) if CLASSES[usize::from(*byte)] & class != 0 => position += 1,
            _ => return position,
        }
    }
    skip(bytes, position, class)
}

#[inline]
const fn repeat(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// Marks the highest bit of bytes that are zero; above the lowest of them, perhaps of others too.
#[inline]
const fn zeros(word: u64) -> u64 {
    word.wrapping_sub(repeat(0x01)) & !word & repeat(0x80)
}

/// The first byte from `from` on that isn't an ASCII character of a name.
pub(crate) fn skip_name(bytes: &[u8], from: usize) -> usize {
    skip(bytes, from, NAME)
}

/// The characters beyond ASCII from `from` on, and where they end: all there are, without a last one
/// that is cut off. `is_xml` holds for each.
pub(crate) fn beyond_ascii(bytes: &[u8], from: usize) -> Result<(&str, usize), XmlError> {
    let rest = bytes.get(from..).unwrap_or_default();
    let run = rest.iter().position(u8::is_ascii).unwrap_or(rest.len());
    let text = match std::str::from_utf8(&rest[..run]) {
        Ok(text) => text,
        // What is cut off at the end of the input may still become a character.
        Err(error) if error.error_len().is_none() && run == rest.len() => {
            std::str::from_utf8(&rest[..error.valid_up_to()]).unwrap_or_default()
        }
        Err(error) => {
            return Err(XmlError::InvalidUtf8 {
                at: from + error.valid_up_to(),
            });
        }
    };
    match text
        .char_indices()
        .find(|(_, character)| !is_xml(*character))
    {
        Some((index, _)) => Err(XmlError::InvalidCharacter { at: from + index }),
        None => Ok((text, from + text.len())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// At each place of a word, and beyond it.
    #[test]
    fn each_byte_stops_where_it_must() {
        for byte in 0..=255_u8 {
            let plain = byte.is_ascii() && is_xml(char::from(byte));
            let text = plain && !b"<&>".contains(&byte);
            let value = plain && !b"<&'\"".contains(&byte);
            for place in 0..20 {
                let mut bytes = [b'x'; 40];
                bytes[place] = byte;
                let end = |passes| if passes { 40 } else { place };
                assert_eq!(skip_text(&bytes, 0), end(text), "{byte} {place}");
                assert_eq!(skip_value(&bytes, 0), end(value), "{byte} {place}");
            }
        }
    }
}

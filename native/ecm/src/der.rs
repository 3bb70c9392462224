//! What DER consists of (X.690, section 8.1), as far as certificates need it.

/// An element.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Element<'d> {
    /// Its identifier octet. Longer identifiers are not in certificates.
    pub tag: u8,
    /// Its contents.
    pub contents: &'d [u8],
    /// What follows it.
    pub rest: &'d [u8],
}

/// The element at the front; `None` if it is not whole.
pub fn element(bytes: &[u8]) -> Option<Element<'_>> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match usize::from(*first) {
        short @ 0..0x80 => (short, rest),
        long => {
            let (length, rest) = rest.split_at_checked(long - 0x80)?;
            let add = |sum: usize, byte: &u8| sum.checked_mul(256)?.checked_add(usize::from(*byte));
            (length.iter().try_fold(0, add)?, rest)
        }
    };
    let (contents, rest) = rest.split_at_checked(length)?;
    Some(Element {
        tag: *tag,
        contents,
        rest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_element_has_a_tag_contents_and_what_follows() {
        let long = [&[0x04, 0x82, 0x01, 0x00][..], &[7; 256], b"rest"].concat();
        for (bytes, expected) in [
            (&b"\x02\x01\x05"[..], Some((0x02, &b"\x05"[..], &b""[..]))),
            (b"\x05\x00next", Some((0x05, b"", b"next"))),
            (&long, Some((0x04, &[7; 256], b"rest"))),
            (b"", None),
            (b"\x02", None),
            (b"\x02\x02\x05", None),
            (b"\x30\xff", None),
            (
                b"\x30\x8a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
                None,
            ),
        ] {
            let found = element(bytes).map(|it| (it.tag, it.contents, it.rest));
            assert_eq!(found, expected, "{bytes:x?}");
        }
    }
}

//! PROXY headers of both versions.
//!
//! One is read as soon as its last byte is there and not before, whatever follows it; what can't be one is refused,
//! and no further byte makes it one; and what was read is what is read from what it is written as.
#![no_main]

use libfuzzer_sys::fuzz_target;
use megaphone_fuzz::{Input, count};
use megaphone_trunk::proxy::{MAX_FIELDS, SIGNATURE, missing, read, read_any, write};

fuzz_target!(|input: &[u8]| {
    let mut input = Input::new(input);
    let mut headers = 0;
    while !input.is_empty() {
        let bytes = header(&mut input);
        check(&bytes, usize::from(input.byte()));
        headers += 1;
    }
    count(headers);
});

/// A header, or nearly.
fn header(input: &mut Input<'_>) -> Vec<u8> {
    let choice = input.byte();
    if choice < 0x30 {
        return line(input);
    }
    let mut body = Vec::new();
    let family = input.pick(&[0x11, 0x21, 0x00, 0x31, 0x12, 0x22]);
    let address = input.byte();
    let addresses = match family >> 4 {
        1 => 12,
        2 => 36,
        3 => 216,
        _ => 0,
    };
    body.resize(addresses, address);
    for _ in 0..choice & 7 {
        tlv(input, &mut body);
    }
    if choice & 8 != 0 {
        // A sum of its own, at any place.
        body.extend_from_slice(&[0x03, 0, 4, 0, 0, 0, 0]);
    }
    let mut bytes = SIGNATURE.to_vec();
    bytes.push(input.pick(&[0x21, 0x21, 0x21, 0x20, 0x22, 0x11]));
    bytes.push(family);
    let length = body.len() as u16;
    let length = if choice >= 0xf8 {
        length.wrapping_add(u16::from(input.byte()))
    } else {
        length
    };
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(&body);
    if choice >= 0xe0 {
        let at = usize::from(input.byte()) % bytes.len();
        bytes[at] = input.byte();
    }
    bytes
}

/// A value with its type and its length, which is right or nearly so.
fn tlv(input: &mut Input<'_>, out: &mut Vec<u8>) {
    const TYPES: &[u8] = &[
        0x01, 0x02, 0x04, 0x05, 0x20, 0x21, 0x22, 0x23, 0x24, 0x25, 0x28, 0x30, 0xe0, 0xe1, 0xe2,
        0xe3, 0xe4, 0xe5,
    ];
    const VALUES: &[&[u8]] = &[
        b"",
        b"tcp",
        b"tls",
        b"websocket",
        b"bosh",
        b"h2",
        b"xmpp-client",
        b"http/1.1",
        b"a.example",
        b"\x01\0\0\0\0",
        b"\x07\0\0\0\0\x21\0\x07TLSv1.3\x22\0\x01a",
        &[7; 12],
        &[7; 32],
        &[7; 48],
        &[0xff; 64],
    ];
    let kind = input.pick(TYPES);
    let choice = input.byte();
    let value = match choice {
        ..0x80 => input.pick(VALUES),
        choice => input.bytes(usize::from(choice & 0x3f)),
    };
    out.push(kind);
    let length = (value.len() as u16).wrapping_add(u16::from(choice & 0xc0 == 0xc0));
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(value);
}

/// A line of version 1, or nearly.
fn line(input: &mut Input<'_>) -> Vec<u8> {
    const WORDS: &[&str] = &[
        "PROXY",
        " ",
        "TCP4",
        "TCP6",
        "UNKNOWN",
        "192.0.2.1",
        "2001:db8::1",
        "0",
        "443",
        "65535",
        "65536",
        "\r\n",
        "\n",
        "\r",
        "PROXY TCP4 192.0.2.1 198.51.100.1 40000 443\r\n",
        "PROXY TCP6 ::1 ::1 1 2\r\n",
        "x",
    ];
    let mut line = Vec::new();
    for _ in 0..input.byte() & 0xf {
        line.extend_from_slice(input.pick(WORDS).as_bytes());
    }
    line
}

fn check(bytes: &[u8], cut: usize) {
    let whole = read_any(bytes);
    let cut = cut.min(bytes.len());
    match &whole {
        Ok(None) => {
            assert!(missing(bytes) > 0);
            assert_eq!(
                read_any(&bytes[..cut]),
                Ok(None),
                "a part of what is not whole"
            );
        }
        Ok(Some((header, length))) => {
            assert!(*length <= bytes.len());
            let again = read_any(&bytes[..*length]);
            assert_eq!(again, whole, "without what follows");
            if cut < *length {
                let part = &bytes[..cut];
                assert_eq!(read_any(part), Ok(None), "a part of it");
                assert!(cut + missing(part) <= *length, "it asks for what follows");
            }
            if header
                .fields
                .as_ref()
                .is_none_or(|fields| fields.len() <= MAX_FIELDS)
            {
                let mut written = Vec::new();
                write(header, &mut written);
                let length = written.len();
                assert_eq!(
                    read(&written),
                    Ok(Some((header.clone(), length))),
                    "what was written"
                );
            }
        }
        Err(_) => {
            let part = read_any(&bytes[..cut]);
            assert!(
                part == Ok(None) || part == whole,
                "a part of what is wrong: {part:?}"
            );
        }
    }
}

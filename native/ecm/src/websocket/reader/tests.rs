//! Frames and messages in all chunkings.

use proptest::prelude::*;

use super::*;
use crate::websocket::close::read_close;

const LIMIT: usize = 100;

/// A client's frame: its first byte and its payload.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x37, 0xfa, 0x21, 0x3d];
    let mut out = vec![first];
    match payload.len() {
        length @ ..126 => out.push(0x80 | length as u8),
        length => {
            out.push(0xfe);
            out.extend_from_slice(&(length as u16).to_be_bytes());
        }
    }
    out.extend_from_slice(&mask);
    let start = out.len();
    out.extend_from_slice(payload);
    unmask(&mut out[start..], mask, 0);
    out
}

/// All that is read from pieces, as text, and why it ended.
fn read(pieces: &[Vec<u8>]) -> (Vec<String>, Result<(), FrameError>) {
    let mut reader = MessageReader::default();
    let mut seen = Vec::new();
    for piece in pieces {
        let mut piece = piece.clone();
        let mut input = &mut piece[..];
        loop {
            let (name, payload) = match reader.next(&mut input, LIMIT) {
                Ok(Some(Event::Text(text))) => ("text", text),
                Ok(Some(Event::Ping(payload))) => ("ping", payload),
                Ok(Some(Event::Pong)) => ("pong", &[][..]),
                Ok(Some(Event::Close(payload))) => ("close", payload),
                Ok(None) => break,
                Err(error) => return (seen, Err(error)),
            };
            seen.push(format!("{name} {}", String::from_utf8_lossy(payload)));
        }
        assert!(input.is_empty(), "{} bytes are left", input.len());
    }
    if !reader.is_within() {
        let mut nothing = &mut [][..];
        assert_eq!(reader.next(&mut nothing, LIMIT), Ok(None));
        assert!(
            reader.unfinished.is_none() && reader.held() == 0,
            "memory is held between messages"
        );
    }
    (seen, Ok(()))
}

/// The same, whole and cut into pieces of each size: these have to agree.
#[track_caller]
fn read_however_cut(bytes: &[u8]) -> (Vec<String>, Result<(), FrameError>) {
    let whole = read(&[bytes.to_vec()]);
    for size in 1..bytes.len() {
        let pieces: Vec<_> = bytes.chunks(size).map(<[u8]>::to_vec).collect();
        assert_eq!(read(&pieces), whole, "in pieces of {size}");
    }
    whole
}

#[test]
fn what_is_read() {
    for (frames, expected) in [
        (&[frame(0x81, b"")][..], &["text "][..]),
        (&[frame(0x81, b"hello")], &["text hello"]),
        (
            &[frame(0x81, b"a"), frame(0x81, b"b")],
            &["text a", "text b"],
        ),
        (
            &[frame(0x81, "\u{1f600}é".as_bytes())],
            &["text \u{1f600}é"],
        ),
        (
            &[frame(0x01, b"hel"), frame(0x00, b""), frame(0x80, b"lo")],
            &["text hello"],
        ),
        (&[frame(0x01, b""), frame(0x80, b"")], &["text "]),
        (
            &[frame(0x82, b"one"), frame(0x02, b"tw"), frame(0x80, b"o")],
            &["text one", "text two"],
        ),
        (&[frame(0x89, b"")], &["ping "]),
        (
            &[frame(0x89, &[b'p'; 125])],
            &[&format!("ping {}", "p".repeat(125))],
        ),
        (&[frame(0x8a, b"pong")], &["pong "]),
        (
            &[
                frame(0x01, b"hel"),
                frame(0x89, b"1"),
                frame(0x8a, b""),
                frame(0x89, b"22"),
                frame(0x80, b"lo"),
                frame(0x81, b"next"),
            ],
            &["ping 1", "pong ", "ping 22", "text hello", "text next"],
        ),
        (&[frame(0x88, b"")], &["close "]),
        (&[frame(0x88, b"\x03\xe8bye")], &["close \u{3}\u{fffd}bye"]),
        (
            &[frame(0x01, b"half"), frame(0x88, b"\x03\x20")],
            &["close \u{3} "],
        ),
    ] {
        let (seen, end) = read_however_cut(&frames.concat());
        assert_eq!((&seen[..], end), (&expected.map_strings()[..], Ok(())));
    }
}

#[test]
fn what_is_refused_after_what_came_before() {
    let long = [b'x'; LIMIT + 1];
    let limit = FrameError::TooBig { limit: LIMIT };
    for (frames, expected, error) in [
        (&[frame(0xc1, b"x")][..], &[][..], FrameError::ReservedBit),
        (
            &[frame(0x81, b"a"), frame(0x83, b"x")],
            &["text a"],
            FrameError::Opcode(3),
        ),
        (&[frame(0x8b, b"x")], &[], FrameError::Opcode(11)),
        (&[frame(0x82, b"\xff")], &[], FrameError::Utf8),
        (&[frame(0x80, b"x")], &[], FrameError::NoMessage),
        (&[frame(0x00, b"x")], &[], FrameError::NoMessage),
        (
            &[frame(0x81, b"a"), frame(0x80, b"x")],
            &["text a"],
            FrameError::NoMessage,
        ),
        (
            &[frame(0x01, b"a"), frame(0x81, b"x")],
            &[],
            FrameError::InMessage,
        ),
        (
            &[frame(0x01, b"a"), frame(0x02, b"x")],
            &[],
            FrameError::InMessage,
        ),
        (&[frame(0x09, b"")], &[], FrameError::FragmentedControl),
        (&[vec![0x81, 0x01, b'x']], &[], FrameError::Unmasked),
        (&[vec![0x89, 0xfe, 0, 126]], &[], FrameError::LongControl),
        (&[frame(0x81, &long)], &[], limit.clone()),
        (
            &[frame(0x01, b"x"), frame(0x80, &long[1..])],
            &[],
            limit.clone(),
        ),
        (
            &[frame(0x01, &long[1..]), frame(0x89, b""), frame(0x00, b"x")],
            &["ping "],
            limit,
        ),
        (&[frame(0x81, b"\xff")], &[], FrameError::Utf8),
        (&[frame(0x81, b"a\xc3")], &[], FrameError::Utf8),
        (&[frame(0x81, b"\xed\xa0\x80")], &[], FrameError::Utf8),
        (
            &[frame(0x01, b"\xc3"), frame(0x80, b"x")],
            &[],
            FrameError::Utf8,
        ),
        (
            &[frame(0x01, b"\xc3"), frame(0x80, b"")],
            &[],
            FrameError::Utf8,
        ),
        (&[frame(0x01, b"\xf4\x90")], &[], FrameError::Utf8),
    ] {
        let (seen, end) = read_however_cut(&frames.concat());
        assert_eq!((&seen[..], end), (&expected.map_strings()[..], Err(error)));
    }
}

#[test]
fn a_character_may_lie_across_frames() {
    let text = "é\u{20ac}\u{1f600}".as_bytes();
    for cut in 0..text.len() {
        let frames = [frame(0x01, &text[..cut]), frame(0x80, &text[cut..])].concat();
        let expected = format!("text {}", String::from_utf8_lossy(text));
        assert_eq!(
            read_however_cut(&frames),
            (vec![expected], Ok(())),
            "cut at {cut}"
        );
    }
}

#[test]
fn a_frame_that_is_too_big_takes_no_memory() {
    let mut header = vec![0x81, 0xff, 0, 0, 0, 0x10, 0, 0, 0, 0, 1, 2, 3, 4];
    let mut reader = MessageReader::default();
    let error = reader.next(&mut &mut header[..], LIMIT);
    assert_eq!(error, Err(FrameError::TooBig { limit: LIMIT }));
    assert!(reader.unfinished.is_none());
    assert_eq!(size_of::<MessageReader>(), 8);
}

#[test]
fn a_close_code_comes_through() {
    let mut bytes = frame(0x88, b"\x03\xe9");
    let mut reader = MessageReader::default();
    let Ok(Some(Event::Close(payload))) = reader.next(&mut &mut bytes[..], LIMIT) else {
        panic!("a close frame is read");
    };
    assert_eq!(read_close(payload).unwrap().unwrap().number(), 1001);
}

trait MapStrings {
    fn map_strings(&self) -> Vec<String>;
}

impl MapStrings for [&str] {
    fn map_strings(&self) -> Vec<String> {
        self.iter().map(|text| (*text).to_owned()).collect()
    }
}

fn messages() -> impl Strategy<Value = Vec<(String, usize, Vec<u8>)>> {
    // A text, in how many frames, and a ping between them.
    proptest::collection::vec(
        (
            "[a-zé€\u{1f600}]{0,20}",
            1usize..5,
            proptest::collection::vec(any::<u8>(), 0..10),
        ),
        0..10,
    )
}

proptest! {
    #[test]
    fn however_messages_are_fragmented_and_cut_they_come_through(
        messages in messages(),
        cuts in proptest::collection::vec(1usize..30, 1..20),
    ) {
        let mut bytes = Vec::new();
        let mut expected = Vec::new();
        for (text, frames, ping) in messages {
            let size = text.len().div_ceil(frames).max(1);
            let parts: Vec<_> = text.as_bytes().chunks(size).collect();
            let count = parts.len().max(1);
            for n in 0..count {
                let first = (u8::from(n == count - 1) << 7) | u8::from(n == 0);
                bytes.extend(frame(first, parts.get(n).copied().unwrap_or_default()));
                if n < count - 1 {
                    bytes.extend(frame(0x89, &ping));
                    expected.push(format!("ping {}", String::from_utf8_lossy(&ping)));
                }
            }
            expected.push(format!("text {text}"));
        }
        let mut pieces = Vec::new();
        let mut rest = &bytes[..];
        for cut in cuts.iter().cycle() {
            let (piece, left) = rest.split_at((*cut).min(rest.len()));
            pieces.push(piece.to_vec());
            rest = left;
            if rest.is_empty() {
                break;
            }
        }
        prop_assert_eq!(read(&pieces), (expected, Ok(())));
    }

    #[test]
    fn no_bytes_do_harm(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let pieces: Vec<_> = bytes.chunks(7).map(<[u8]>::to_vec).collect();
        prop_assert_eq!(read(&pieces), read(&[bytes]));
    }
}

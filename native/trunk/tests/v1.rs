//! Properties of version 1: how a trunk's bytes are cut changes nothing, and what was written is
//! what is read.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

use megaphone_trunk::v1::{
    ConnectionId, Decoder, Event, FrameError, FramePart, HEADER_LEN, MaxFrameSize, encode_header,
    put_close, put_content, put_frame,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

/// A frame as the two sides mean it: no content closes the connection.
type Frame = (ConnectionId, Vec<u8>);

fn connection_ids() -> impl Strategy<Value = ConnectionId> {
    proptest::array::uniform20(0x21u8..=0x7e)
        .prop_map(|bytes| ConnectionId::try_from(bytes).unwrap())
}

fn frames() -> impl Strategy<Value = Vec<Frame>> {
    vec((connection_ids(), vec(any::<u8>(), 0..80)), 0..12)
}

fn write(frames: &[Frame]) -> Vec<u8> {
    let mut trunk = Vec::new();
    for (id, content) in frames {
        match content.as_slice() {
            [] => put_close(&mut trunk, id),
            content => put_frame(&mut trunk, id, content).unwrap(),
        }
    }
    trunk
}

/// Cuts bytes at the given places, which may coincide.
fn cut<'a>(bytes: &'a [u8], places: &[Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<_> = places
        .iter()
        .map(|place| place.index(bytes.len() + 1))
        .collect();
    places.extend([0, bytes.len()]);
    places.sort_unstable();
    places
        .windows(2)
        .map(|ends| &bytes[ends[0]..ends[1]])
        .collect()
}

/// Reads pieces of a trunk into whole frames, and the error that ended it.
fn read(pieces: &[&[u8]], max: MaxFrameSize) -> (Vec<Frame>, Option<FrameError>) {
    let mut decoder = Decoder::new(max);
    let mut frames: Vec<Frame> = Vec::new();
    let mut within = None;
    for event in pieces
        .iter()
        .flat_map(|piece| decoder.decode(piece).collect::<Vec<_>>())
    {
        match event {
            Err(error) => return (frames, Some(error)),
            Ok(Event::Close { id }) => {
                assert_eq!(within, None, "a close inside another frame");
                frames.push((id, Vec::new()));
            }
            Ok(Event::Content { id, bytes, part }) => {
                assert!(!bytes.is_empty(), "empty content");
                match within {
                    None => frames.push((id, bytes.to_vec())),
                    Some(open) => {
                        assert_eq!(open, id, "another connection's content inside a frame");
                        frames.last_mut().unwrap().1.extend_from_slice(bytes);
                    }
                }
                within = (part == FramePart::More).then_some(id);
            }
        }
    }
    (frames, None)
}

proptest! {
    #[test]
    fn what_was_written_is_read_however_it_is_cut(
        frames in frames(),
        places in vec(any::<Index>(), 0..40),
    ) {
        let trunk = write(&frames);
        prop_assert_eq!(read(&cut(&trunk, &places), MaxFrameSize::DEFAULT), (frames, None));
    }

    #[test]
    fn byte_by_byte_is_no_different(frames in frames()) {
        let trunk = write(&frames);
        let pieces: Vec<_> = trunk.chunks(1).collect();
        prop_assert_eq!(read(&pieces, MaxFrameSize::DEFAULT), (frames, None));
    }

    #[test]
    fn a_damaged_trunk_gives_the_same_frames_and_error_however_it_is_cut(
        frames in frames(),
        damage in vec((any::<Index>(), any::<u8>()), 1..4),
        places in vec(any::<Index>(), 0..40),
    ) {
        let mut trunk = write(&frames);
        prop_assume!(!trunk.is_empty());
        for (place, byte) in damage {
            let place = place.index(trunk.len());
            trunk[place] = byte;
        }
        let max = MaxFrameSize::new(90).unwrap();
        prop_assert_eq!(read(&cut(&trunk, &places), max), read(&[&trunk], max));
    }

    #[test]
    fn any_bytes_never_panic_and_an_error_lies_inside_them(
        pieces in vec(vec(prop_oneof![any::<u8>(), Just(b'0'), Just(b'|')], 0..50), 0..8),
    ) {
        let total: usize = pieces.iter().map(Vec::len).sum();
        let pieces: Vec<_> = pieces.iter().map(Vec::as_slice).collect();
        if let (_, Some(error)) = read(&pieces, MaxFrameSize::DEFAULT) {
            prop_assert!(error.offset < total as u64, "{} of {total} bytes", error);
        }
    }

    #[test]
    fn a_written_header_is_read_back(id in connection_ids(), content_len in 0usize..=9_999_999_967) {
        let header = encode_header(&id, content_len).unwrap();
        let mut decoder = Decoder::new(MaxFrameSize::new(9_999_999_999).unwrap());
        let first = decoder.decode(&header).next();
        if content_len == 0 {
            prop_assert_eq!(first, Some(Ok(Event::Close { id })));
        } else {
            prop_assert_eq!(first, None);
            let part = if content_len == 1 { FramePart::Last } else { FramePart::More };
            let next = decoder.decode(b"x").next();
            prop_assert_eq!(next, Some(Ok(Event::Content { id, bytes: b"x", part })));
        }
    }

    #[test]
    fn content_cut_into_frames_keeps_to_the_limit(
        id in connection_ids(),
        content in vec(any::<u8>(), 0..300),
        max in (HEADER_LEN as u64 + 1)..200,
    ) {
        let max = MaxFrameSize::new(max).unwrap();
        let mut trunk = Vec::new();
        put_content(&mut trunk, &id, &content, max);
        let (frames, error) = read(&[&trunk], max);
        prop_assert_eq!(error, None);
        prop_assert_eq!(frames.into_iter().flat_map(|(_, bytes)| bytes).collect::<Vec<_>>(), content);
    }
}

//! What the tests of version 2 share: frames by hand, and owners that write down what they hear.

#![allow(dead_code, clippy::unwrap_used, clippy::panic)]

use megaphone_trunk::v2::{
    Event, Events, Flags, FrameType, HEADER_LEN, Header, ResetCause, Session, StreamId, Tag,
};

/// The id with this number.
pub fn id(number: u32) -> StreamId {
    StreamId::new(number)
}

/// A data frame.
pub fn data(stream: u32, flags: Flags, bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap();
    let mut frame = Header::data(id(stream), flags, length).encode().to_vec();
    frame.extend_from_slice(bytes);
    frame
}

/// A window update.
pub fn update(stream: u32, flags: Flags, length: u32) -> Vec<u8> {
    Header::window_update(id(stream), flags, length)
        .encode()
        .to_vec()
}

/// Any header, with any numbers in it.
pub fn raw(version: u8, kind: u8, flags: u16, stream: u32, length: u32) -> Vec<u8> {
    let mut frame = vec![version, kind];
    frame.extend(flags.to_be_bytes());
    frame.extend(stream.to_be_bytes());
    frame.extend(length.to_be_bytes());
    frame
}

/// A frame as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub header: Header,
    pub data: Vec<u8>,
}

/// Reads whole frames off the front; what is left is less than one.
pub fn take_frames(bytes: &mut Vec<u8>) -> Vec<Frame> {
    let mut frames = Vec::new();
    let mut at = 0;
    while let Some(header) = bytes[at..].first_chunk::<HEADER_LEN>() {
        let header = Header::decode(header).unwrap();
        let len = match header.kind {
            FrameType::Data => header.length as usize,
            _ => 0,
        };
        let Some(data) = bytes[at + HEADER_LEN..].get(..len) else {
            break;
        };
        let data = data.to_vec();
        frames.push(Frame { header, data });
        at += HEADER_LEN + len;
    }
    bytes.drain(..at);
    frames
}

/// All output of a session.
pub fn take(session: &mut Session) -> Vec<u8> {
    let mut out = Vec::new();
    session.take_output(usize::MAX, &mut out, &mut |_: Event<'_>| {});
    out
}

/// All output of a session, as headers.
pub fn headers(session: &mut Session) -> Vec<Header> {
    let mut out = take(session);
    let frames = take_frames(&mut out);
    assert!(out.is_empty(), "the last frame is not whole: {out:?}");
    frames.into_iter().map(|frame| frame.header).collect()
}

/// An event that outlives its input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Seen {
    Opened(u32),
    Data(u32, Vec<u8>),
    Finished(u32),
    Writable(u32),
    Window(u32, u32),
    Reset(u32, ResetCause),
    Closed(u32),
    GoAway,
}

/// An owner that writes down what it hears, and tags each stream with ten times its id.
#[derive(Debug, Default)]
pub struct Log(pub Vec<Seen>);

impl<'a> Events<'a> for Log {
    fn opened(&mut self, id: StreamId) -> Tag {
        self.0.push(Seen::Opened(id.get()));
        Tag::from(id.get()) * 10
    }

    fn event(&mut self, event: Event<'a>) {
        let number = |id: StreamId, tag: Tag| {
            assert_eq!(tag, Tag::from(id.get()) * 10, "another stream's tag");
            id.get()
        };
        self.0.push(match event {
            Event::Opened { id } => panic!("{id} has to be tagged"),
            Event::Data { id, tag, bytes } => Seen::Data(number(id, tag), bytes.to_vec()),
            Event::Finished { id, tag } => Seen::Finished(number(id, tag)),
            Event::Writable { id, tag } => Seen::Writable(number(id, tag)),
            Event::Window { id, tag, bytes } => Seen::Window(number(id, tag), bytes),
            Event::Reset { id, tag, cause } => Seen::Reset(number(id, tag), cause),
            Event::Closed { id, tag } => Seen::Closed(number(id, tag)),
            Event::GoAway => Seen::GoAway,
        });
    }
}

/// Reads bytes that must be allowed.
pub fn receive(session: &mut Session, bytes: &[u8]) -> Vec<Seen> {
    let mut log = Log::default();
    session.receive(bytes, &mut log).unwrap();
    log.0
}

//! WebSocket frames of clients.
//!
//! What is read is what was sent, however it is cut: whole messages, and what stands between their parts. What is
//! wrong is refused at the same place in any pieces. Between two messages no memory is held.
#![no_main]

use libfuzzer_sys::fuzz_target;
use megaphone_fuzz::websocket::{Event, MessageReader};
use megaphone_fuzz::{Input, count, cut, pattern};

const LIMIT: usize = 3000;

fuzz_target!(|input: &[u8]| {
    let mut input = Input::new(input);
    let is_right = input.byte() & 3 != 3;
    let cuts = input.bytes(4);
    let mut client = Client::default();
    while !input.is_empty() {
        client.say(&mut input, is_right);
    }
    let whole = read(&client.bytes, [&client.bytes[..]].into_iter());
    assert_eq!(
        read(&client.bytes, cut(&client.bytes, cuts)),
        whole,
        "in pieces"
    );
    if is_right {
        assert!(whole == (client.said, None), "something else was read");
    }
    count(client.frames);
});

/// What was read: the first letter of what it is, and its payload.
type Said = Vec<(u8, Vec<u8>)>;

/// A client that knows what it says.
#[derive(Default)]
struct Client {
    bytes: Vec<u8>,
    said: Said,
    /// The message that has begun.
    message: Option<Vec<u8>>,
    frames: u64,
}

impl Client {
    fn say(&mut self, input: &mut Input<'_>, is_right: bool) {
        let choice = input.byte();
        if !is_right && choice >= 0xf0 {
            self.bytes
                .extend_from_slice(input.bytes(usize::from(choice & 0xf)));
            return;
        }
        if !is_right && choice >= 0xe0 {
            let first = input.byte();
            return self.frame(first, choice, b"payload");
        }
        let length = usize::from(input.byte());
        for _ in 0..input.times() {
            self.part(choice, length, is_right);
        }
    }

    /// A frame that may come now, or nearly.
    fn part(&mut self, choice: u8, length: usize, is_right: bool) {
        // Two bytes a character, which a cut may tear apart.
        let text = "äöü".repeat(length.div_ceil(2));
        let end = (self.frames as usize * 3 + usize::from(choice)) % 2;
        match (choice >> 5, self.message.take()) {
            (0, message) => {
                let payload = pattern(length, length.min(125));
                self.frame(0x89, choice, payload);
                self.said.push((b'p', payload.to_vec()));
                self.message = message;
            }
            (1, message) => {
                self.frame(0x8a, choice, b"");
                self.said.push((b'q', Vec::new()));
                self.message = message;
            }
            (_, None) if choice & 0x10 == 0 => {
                self.frame(0x81 + (choice & 1), choice, text.as_bytes());
                self.said.push((b't', text.into_bytes()));
            }
            (_, None) => {
                let (first, _) = text.as_bytes().split_at(text.len() - end.min(text.len()));
                let first = if is_right { text.as_bytes() } else { first };
                self.frame(0x01, choice, first);
                self.message = Some(first.to_vec());
            }
            (_, Some(mut message)) => {
                let room = LIMIT - message.len().min(LIMIT);
                let more = if text.len() <= room { &text[..] } else { "" };
                message.extend_from_slice(more.as_bytes());
                let is_last = choice & 0x10 == 0;
                self.frame(if is_last { 0x80 } else { 0 }, choice, more.as_bytes());
                if is_last {
                    self.said.push((b't', message));
                } else {
                    self.message = Some(message);
                }
            }
        }
    }

    fn frame(&mut self, first: u8, mask: u8, payload: &[u8]) {
        self.frames += 1;
        self.bytes.push(first);
        match payload.len() {
            length @ ..126 => self.bytes.push(0x80 | length as u8),
            length => {
                self.bytes.push(0xfe);
                self.bytes.extend_from_slice(&(length as u16).to_be_bytes());
            }
        }
        let mask = [mask, mask ^ 0x55, 0, 0xff];
        self.bytes.extend_from_slice(&mask);
        let masked = payload.iter().zip(mask.iter().cycle());
        self.bytes.extend(masked.map(|(byte, mask)| byte ^ mask));
    }
}

/// All that is read, and why it ended. `bytes` are what the pieces are of: they are unmasked where they lie.
fn read<'a>(bytes: &[u8], pieces: impl Iterator<Item = &'a [u8]>) -> (Said, Option<String>) {
    let mut bytes = bytes.to_vec();
    let mut rest = &mut bytes[..];
    let mut reader = MessageReader::default();
    let mut said = Said::new();
    for piece in pieces {
        let (mut input, after) = rest.split_at_mut(piece.len());
        rest = after;
        loop {
            match reader.next(&mut input, LIMIT) {
                Ok(Some(Event::Text(text))) => {
                    assert!(std::str::from_utf8(text).is_ok() && text.len() <= LIMIT);
                    said.push((b't', text.to_vec()));
                }
                Ok(Some(Event::Ping(payload))) => said.push((b'p', payload.to_vec())),
                Ok(Some(Event::Pong)) => said.push((b'q', Vec::new())),
                Ok(Some(Event::Close(payload))) => said.push((b'c', payload.to_vec())),
                Ok(None) => break,
                Err(error) => return (said, Some(error.to_string())),
            }
        }
        assert!(input.is_empty());
        assert!(
            reader.is_within() || reader.held() == 0,
            "memory between messages"
        );
    }
    (said, None)
}

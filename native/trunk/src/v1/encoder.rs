//! Writing frames.

use bytes::BufMut;

use super::error::EncodeError;
use super::header::MaxFrameSize;
use super::id::ConnectionId;
use super::layout::{HEADER_LEN, LENGTH_DIGITS, MAX_FRAME_LEN};

/// The header of a frame with `content_len` bytes of content. With 0 it closes the connection.
///
/// # Errors
/// [`EncodeError::TooLong`] if ten digits can't say the frame's length.
pub fn encode_header(
    id: &ConnectionId,
    content_len: usize,
) -> Result<[u8; HEADER_LEN], EncodeError> {
    u64::try_from(content_len)
        .ok()
        .and_then(|length| length.checked_add(HEADER_LEN as u64))
        .filter(|&length| length <= MAX_FRAME_LEN)
        .map(|length| header_bytes(id, length))
        .ok_or(EncodeError::TooLong { content_len })
}

/// Appends one frame to a buffer that grows, such as a `Vec<u8>` or a `BytesMut`.
///
/// # Errors
/// [`EncodeError::Empty`] without content, [`EncodeError::TooLong`] with too much; then nothing is
/// written.
pub fn put_frame(
    out: &mut impl BufMut,
    id: &ConnectionId,
    content: &[u8],
) -> Result<(), EncodeError> {
    if content.is_empty() {
        return Err(EncodeError::Empty);
    }
    out.put_slice(&encode_header(id, content.len())?);
    out.put_slice(content);
    Ok(())
}

/// Appends content of any length in as many frames as `max` asks for; nothing for no content.
pub fn put_content(out: &mut impl BufMut, id: &ConnectionId, content: &[u8], max: MaxFrameSize) {
    for piece in content.chunks(max.max_content()) {
        out.put_slice(&header_bytes(id, (HEADER_LEN + piece.len()) as u64));
        out.put_slice(piece);
    }
}

/// Appends the frame that closes a connection.
pub fn put_close(out: &mut impl BufMut, id: &ConnectionId) {
    out.put_slice(&header_bytes(id, HEADER_LEN as u64));
}

fn header_bytes(id: &ConnectionId, mut length: u64) -> [u8; HEADER_LEN] {
    let mut header = [b'|'; HEADER_LEN];
    for digit in header[..LENGTH_DIGITS].iter_mut().rev() {
        *digit = b'0' + (length % 10) as u8;
        length /= 10;
    }
    header[LENGTH_DIGITS + 1..HEADER_LEN - 1].copy_from_slice(id.as_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id() -> ConnectionId {
        ConnectionId::try_from(b"abcdefghijklmnopqrst").unwrap()
    }

    #[test]
    fn headers_are_byte_for_byte_the_protocol() {
        for (content_len, expected) in [
            (0, b"0000000032|abcdefghijklmnopqrst|"),
            (1, b"0000000033|abcdefghijklmnopqrst|"),
            (65_536, b"0000065568|abcdefghijklmnopqrst|"),
            (9_999_999_967, b"9999999999|abcdefghijklmnopqrst|"),
        ] {
            assert_eq!(encode_header(&id(), content_len), Ok(*expected));
        }
    }

    #[test]
    fn a_length_of_eleven_digits_is_refused() {
        for content_len in [9_999_999_968, usize::MAX] {
            assert_eq!(
                encode_header(&id(), content_len),
                Err(EncodeError::TooLong { content_len })
            );
        }
    }

    #[test]
    fn an_empty_frame_is_never_written_by_accident() {
        let mut out = Vec::new();
        assert_eq!(put_frame(&mut out, &id(), b""), Err(EncodeError::Empty));
        put_content(&mut out, &id(), b"", MaxFrameSize::DEFAULT);
        assert_eq!(out, b"");
    }

    #[test]
    fn content_is_cut_at_the_limit() {
        let mut out = Vec::new();
        put_content(&mut out, &id(), b"12345", MaxFrameSize::new(34).unwrap());
        let expected: &[u8] = b"0000000034|abcdefghijklmnopqrst|12\
            0000000034|abcdefghijklmnopqrst|34\
            0000000033|abcdefghijklmnopqrst|5";
        assert_eq!(out, expected);
    }
}

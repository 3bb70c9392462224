//! Trunk protocol version 1.
//!
//! A trunk is a sequence of frames, the same in both directions:
//!
//! ```text
//!  byte  0          10 11                   31 32
//!        LLLLLLLLLL  |  CCCCCCCCCCCCCCCCCCCC |  content ...
//! ```
//!
//! - `L`, exactly ten ASCII digits: the length of the whole frame in bytes, these
//!   [`HEADER_LEN`] included.
//! - `C`, exactly 20 bytes of 0x21 to 0x7e: the [`ConnectionId`].
//! - Bytes 10 and 31 are `|`.
//!
//! The first frame with a new id opens the connection. A frame without content closes it, in either
//! direction; for an id that was never opened it means nothing, and is what an ECM says to show that it is
//! one, before its first client. Anything that is not such a frame ends the trunk with a [`FrameError`].
//!
//! ```
//! use megaphone_trunk::v1::{ConnectionId, Decoder, Event, FramePart, MaxFrameSize, put_close, put_frame};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let id = ConnectionId::try_from(b"0000000000000000001a")?;
//! let mut trunk = Vec::new();
//! put_frame(&mut trunk, &id, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")?;
//! put_close(&mut trunk, &id);
//! assert!(trunk.starts_with(b"0000000059|0000000000000000001a|GET /"));
//!
//! let mut decoder = Decoder::new(MaxFrameSize::DEFAULT);
//! let events: Vec<_> = decoder.decode(&trunk).collect::<Result<_, _>>()?;
//! assert_eq!(
//!     events,
//!     [
//!         Event::Content { id, bytes: b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", part: FramePart::Last },
//!         Event::Close { id },
//!     ]
//! );
//! # Ok(())
//! # }
//! ```

mod decoder;
mod encoder;
mod error;
mod header;
mod id;
mod layout;

pub use decoder::{Decoder, Event, Events, FramePart};
pub use encoder::{encode_header, put_close, put_content, put_frame};
pub use error::{EncodeError, FrameError, HeaderFault, IdError, LimitError};
pub use header::MaxFrameSize;
pub use id::ConnectionId;
pub use layout::{CONNECTION_ID_LEN, HEADER_LEN, MAX_FRAME_LEN};

//! Where a frame's header has what.

/// The length of a frame's header in bytes.
pub const HEADER_LEN: usize = 32;

/// The length of a connection id in bytes.
pub const CONNECTION_ID_LEN: usize = 20;

/// The longest frame that ten digits can say, in bytes.
pub const MAX_FRAME_LEN: u64 = 9_999_999_999;

/// How many digits a frame's length has.
pub(super) const LENGTH_DIGITS: usize = 10;
/// The bar after the length.
pub(super) const LENGTH_BAR: usize = LENGTH_DIGITS;
/// The first byte of the connection id.
pub(super) const ID_START: usize = LENGTH_BAR + 1;
/// The bar after the connection id.
pub(super) const ID_BAR: usize = ID_START + CONNECTION_ID_LEN;

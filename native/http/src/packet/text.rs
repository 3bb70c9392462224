//! Cutting a line into its parts.

/// The number that `text` starts with, 0 where it starts with none, and what follows it.
pub(super) fn number(text: &[u8]) -> (i32, &[u8]) {
    let (digits, rest) = split_at_first(text, |byte| !byte.is_ascii_digit());
    let add = |sum: i32, digit: &u8| sum.wrapping_mul(10).wrapping_add(i32::from(digit - b'0'));
    (digits.iter().fold(0, add), rest)
}

pub(super) fn split_at_first(text: &[u8], found: impl Fn(u8) -> bool) -> (&[u8], &[u8]) {
    text.split_at(
        text.iter()
            .position(|byte| found(*byte))
            .unwrap_or(text.len()),
    )
}

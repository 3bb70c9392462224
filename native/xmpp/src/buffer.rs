//! The buffer of what is unfinished.

/// Appends `more`; the capacity doubles as it must, but never passes `limit` or what is there.
pub(crate) fn append(buffer: &mut Vec<u8>, more: &[u8], limit: usize) {
    let needed = buffer.len().saturating_add(more.len());
    if needed > buffer.capacity() {
        let capacity = buffer.capacity().saturating_mul(2).min(limit).max(needed);
        buffer.reserve_exact(capacity - buffer.len());
    }
    buffer.extend_from_slice(more);
}

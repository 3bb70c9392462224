//! The host that a request is for.

/// The name in a Host field's value, without a port.
pub fn host_name(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value.trim_ascii()).ok()?;
    let host = match text.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|c| c.is_ascii_digit()) => host,
        _ => text,
    };
    (!host.is_empty()).then(|| host.to_ascii_lowercase())
}

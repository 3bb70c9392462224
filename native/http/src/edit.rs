//! Writes a head again with some of its fields changed.

use std::fmt::{self, Write as _};
use std::net::IpAddr;

use bytes::{BufMut, BytesMut};

/// Changes to a head's fields, one a name: a later one takes the earlier one's place. Names are the program's own; values are typed so that nothing from
/// outside can bring a line end into a head.
///
/// ```
/// use bytes::BytesMut;
/// use megaphone_http::{Event, FieldValue, HeadEdit, Limits, RequestDecoder};
///
/// let mut input = BytesMut::from("GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 10.0.0.1\r\n\r\n");
/// let mut decoder = RequestDecoder::new(Limits::default());
/// let Some(Event::Head(head)) = decoder.decode(&mut input)? else { panic!("the head is whole") };
/// let client = std::net::IpAddr::from([192, 0, 2, 7]);
/// let mut out = BytesMut::new();
/// HeadEdit::new().append("X-Forwarded-For", FieldValue::from(client)).write(&head, &mut out);
/// assert_eq!(
///     &out[..],
///     b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 10.0.0.1, 192.0.2.7\r\n\r\n"
/// );
/// # Ok::<(), megaphone_http::RequestError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct HeadEdit {
    changes: Vec<Change>,
}

#[derive(Clone, Debug)]
struct Change {
    name: &'static str,
    action: Action,
}

#[derive(Clone, Debug)]
enum Action {
    Drop,
    Replace(FieldValue),
    Append(FieldValue),
}

/// A field value that holds no line end and no control byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldValue(String);

/// The text can't be a field value: it holds a control byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("byte {at} of the text is a control byte, which no header value may hold; encode it")]
pub struct InvalidFieldValue {
    /// Where in the text.
    pub at: usize,
}

impl TryFrom<&str> for FieldValue {
    type Error = InvalidFieldValue;

    fn try_from(text: &str) -> Result<Self, InvalidFieldValue> {
        match text
            .bytes()
            .position(|byte| byte != b'\t' && byte.is_ascii_control())
        {
            Some(at) => Err(InvalidFieldValue { at }),
            None => Ok(Self(text.trim_matches([' ', '\t']).to_owned())),
        }
    }
}

impl From<u64> for FieldValue {
    fn from(number: u64) -> Self {
        Self(number.to_string())
    }
}

impl From<IpAddr> for FieldValue {
    fn from(address: IpAddr) -> Self {
        Self(address.to_string())
    }
}

impl fmt::Display for FieldValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A head whose fields can be walked: what an edit reads from.
pub trait HeadFields {
    /// The request line with its CR LF.
    fn request_line(&self) -> &[u8];
    /// The fields in order: name, value without surrounding whitespace, and the line as it came up to
    /// the value's end.
    fn fields(&self) -> impl Iterator<Item = Field<'_>>;
}

/// One field of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field<'a> {
    /// The name as the client wrote it.
    pub name: &'a str,
    /// The value without surrounding whitespace.
    pub value: &'a [u8],
    /// Name, colon, whitespace and value as they came.
    pub line: &'a [u8],
}

impl HeadEdit {
    /// No changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// Removes every field of this name.
    #[must_use]
    pub fn drop(self, name: &'static str) -> Self {
        self.with(name, Action::Drop)
    }

    /// Removes every field of this name and adds one at the end.
    #[must_use]
    pub fn replace(self, name: &'static str, value: FieldValue) -> Self {
        self.with(name, Action::Replace(value))
    }

    /// Adds a member to the end of the list that the fields of this name are. Where there are several,
    /// one takes the place of all: a reader that looks at one of them sees the whole list.
    #[must_use]
    pub fn append(self, name: &'static str, value: FieldValue) -> Self {
        self.with(name, Action::Append(value))
    }

    /// Writes the head with its empty line. Fields that aren't named stay as they came, apart from
    /// whitespace behind the value.
    pub fn write(&self, head: &impl HeadFields, out: &mut BytesMut) {
        out.put_slice(head.request_line());
        for field in head.fields() {
            if self.change(field.name).is_none() {
                out.put_slice(field.line);
                out.put_slice(b"\r\n");
            }
        }
        for change in &self.changes {
            match &change.action {
                Action::Drop => {}
                Action::Replace(value) => put_field(out, change.name, std::iter::empty(), value),
                Action::Append(value) => {
                    let same = |field: &Field<'_>| field.name.eq_ignore_ascii_case(change.name);
                    let members = head.fields().filter(same).map(|field| field.value);
                    put_field(out, change.name, members, value);
                }
            }
        }
        out.put_slice(b"\r\n");
    }

    fn with(mut self, name: &'static str, action: Action) -> Self {
        self.changes
            .retain(|change| !change.name.eq_ignore_ascii_case(name));
        self.changes.push(Change { name, action });
        self
    }

    fn change(&self, name: &str) -> Option<&Change> {
        self.changes
            .iter()
            .find(|change| change.name.eq_ignore_ascii_case(name))
    }
}

fn put_field<'a>(
    out: &mut BytesMut,
    name: &str,
    members: impl Iterator<Item = &'a [u8]>,
    last: &FieldValue,
) {
    out.put_slice(name.as_bytes());
    out.put_slice(b": ");
    for member in members.filter(|member| !member.is_empty()) {
        out.put_slice(member);
        out.put_slice(b", ");
    }
    // Writing to a BytesMut can't fail.
    let _ = write!(out, "{last}");
    out.put_slice(b"\r\n");
}

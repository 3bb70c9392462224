//! What is said on a session, as ejabberd's end of it hears it. The tests of the library have this file too.

/// The bit in the length of a document that is given back.
const GIVEN_BACK: u32 = 1 << 31;

/// What happened on a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    Document(String),
    /// A document that the client never got; the first one may be empty.
    GivenBack(String),
    Finished,
    Reset,
}

impl Said {
    /// Takes the next message off the front, if it is whole.
    pub fn read(bytes: &mut Vec<u8>) -> Option<Self> {
        let (prefix, rest) = bytes.split_first_chunk()?;
        let length = u32::from_be_bytes(*prefix);
        let size = (length & !GIVEN_BACK) as usize;
        let document = String::from_utf8(rest.get(..size)?.to_vec()).unwrap();
        bytes.drain(..prefix.len() + size);
        Some(match length & GIVEN_BACK {
            0 => Self::Document(document),
            _ => Self::GivenBack(document),
        })
    }
}

/// Documents that were said.
pub fn documents(texts: &[&str]) -> Vec<Said> {
    let texts = texts.iter();
    texts
        .map(|text| Said::Document((*text).to_owned()))
        .collect()
}

/// That the client is gone, and documents that it never got.
pub fn gone(undelivered: &[&str]) -> Vec<Said> {
    let texts = [""].iter().chain(undelivered);
    texts
        .map(|text| Said::GivenBack((*text).to_owned()))
        .collect()
}

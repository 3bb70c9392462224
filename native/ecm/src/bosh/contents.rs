//! What a request brings, apart from its place among the others.

use megaphone_xmpp::Open;
use megaphone_xmpp::bosh::{Request, Type};

use crate::session::Documents;

/// A request's contents, kept while a request before it is missing.
#[derive(Debug)]
pub struct Contents {
    /// The key, and the first one of a new sequence.
    pub key: Option<Box<str>>,
    /// See [`key`](Self::key).
    pub newkey: Option<Box<str>>,
    /// The highest answer that the client has.
    pub ack: Option<u64>,
    /// What the client wants of the session.
    pub wish: Wish,
    /// Documents for ejabberd, an `<open/>` first if the stream is to restart.
    pub documents: Documents,
}

/// What a client wants of its session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// What comes from ejabberd.
    Output,
    /// A new stream in the same session.
    Restart,
    /// To be silent for so many seconds.
    Pause(u32),
    /// Its end.
    Terminate,
}

impl Contents {
    /// The contents of a request in a session with the domain `to`.
    pub fn of(request: &Request<'_>, to: &str) -> Self {
        let owned = |text: &Option<std::borrow::Cow<'_, str>>| text.as_deref().map(Box::from);
        let mut documents = Documents::with_capacity(request.payload.len() + 1);
        if request.restart {
            documents.push(open(request, to));
        }
        for document in &request.payload {
            documents.push(document.to_vec());
        }
        Self {
            key: owned(&request.key),
            newkey: owned(&request.newkey),
            ack: request.ack,
            wish: match (request.kind, request.pause) {
                (Some(Type::Terminate), _) => Wish::Terminate,
                (_, Some(pause)) => Wish::Pause(pause),
                _ if request.restart => Wish::Restart,
                _ => Wish::Output,
            },
            documents,
        }
    }

    /// Whether it only asks for what comes from ejabberd.
    pub fn is_empty(&self) -> bool {
        matches!(self.wish, Wish::Output) && self.documents.is_empty()
    }
}

/// The `<open/>` of the stream that a request asks for.
pub fn open(request: &Request<'_>, to: &str) -> Vec<u8> {
    let open = Open {
        to: Some(request.to.as_deref().unwrap_or(to).into()),
        from: request.from.clone(),
        id: None,
        // A restart is XEP-0206's, and so is the version.
        version: match (&request.xmpp_version, request.restart) {
            (None, true) => Some("1.0".into()),
            (version, _) => version.clone(),
        },
        lang: request.lang.clone(),
    };
    let mut document = Vec::new();
    open.write_document(&mut document);
    document
}

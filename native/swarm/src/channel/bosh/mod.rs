//! BOSH (XEP-0124, XEP-0206): a poll on one connection, what is sent on another one.

mod line;

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;

use bytes::Bytes;
use megaphone_xmpp::Limits;
use megaphone_xmpp::stream::{Event, Reader};
use megaphone_xmpp::xml::Root;

use self::line::Line;
use super::{Channel, ChannelError, MAX_DOCUMENT, Route, standing_alone};

/// How long the server may hold a poll, in seconds.
const WAIT: u32 = 60;

/// How many requests may be on their way.
const LINES: usize = 2;

/// What stands before the payload of each body, so that it reads as a stream's content.
const SCOPE: &[u8] = b"<stream:stream xmlns='jabber:client' \
                       xmlns:stream='http://etherx.jabber.org/streams' version='1.0'>";

/// A client with a BOSH session.
pub struct Bosh {
    route: Route,
    domain: Box<str>,
    session: Option<Box<str>>,
    /// The next request's.
    rid: u64,
    lines: [Line; LINES],
    /// Answers that came before that of an earlier request.
    early: Vec<(u64, Bytes)>,
    /// The request whose answer is due next.
    due: u64,
    documents: VecDeque<Bytes>,
    /// How many requests took the place of one that was held, and the answer to that has not come.
    renewed: u32,
    is_over: bool,
}

impl Bosh {
    /// Connects twice.
    ///
    /// # Errors
    /// [`ChannelError`]
    pub async fn connect(route: &Route, domain: &str) -> Result<Self, ChannelError> {
        let first = getrandom::u64().map_err(|error| ChannelError::protocol(error.to_string()))?;
        // A session lasts for less than 2^52 requests.
        let rid = (first >> 12).max(1);
        Ok(Self {
            lines: [
                Line::connect(route, domain).await?,
                Line::connect(route, domain).await?,
            ],
            route: route.clone(),
            domain: domain.into(),
            session: None,
            rid,
            early: Vec::new(),
            due: rid,
            documents: VecDeque::new(),
            renewed: 0,
            is_over: false,
        })
    }

    /// Sends a body on a connection that waits for nothing.
    async fn request(&mut self, attributes: &str, payload: &str) -> Result<(), ChannelError> {
        // No server keeps more answers than there may be requests: one that is lost could not be had again.
        while self.rid >= self.due + LINES as u64 {
            self.take_answer().await?;
        }
        let mut body = format!(
            "<body rid='{}' xmlns='http://jabber.org/protocol/httpbind'",
            self.rid
        );
        if let Some(session) = &self.session {
            // Writing to a String can't fail.
            let _ = write!(body, " sid='{session}'");
        }
        body.push_str(attributes);
        match payload {
            "" => body.push_str("/>"),
            _ => {
                body.push('>');
                body.push_str(payload);
                body.push_str("</body>");
            }
        }
        let request = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: text/xml; charset=utf-8\r\n\
             Content-Length: {}\r\n\r\n{body}",
            self.route.path,
            self.domain,
            body.len()
        );
        let Some(line) = self.lines.iter_mut().find(|line| !line.waits()) else {
            return Err(ChannelError::protocol("both connections wait"));
        };
        let rid = self.rid;
        self.rid += 1;
        // The first one would make another session.
        let may_repeat = self.session.is_some();
        line.ask(rid, request.into_bytes(), may_repeat).await;
        Ok(())
    }

    /// Waits for an answer on either connection, and reads those that are due.
    async fn take_answer(&mut self) -> Result<(), ChannelError> {
        let [one, other] = &mut self.lines;
        let answer = {
            let waits = [one.waits(), other.waits()];
            let mut first = pin!(one.answer(&self.route, &self.domain));
            let mut second = pin!(other.answer(&self.route, &self.domain));
            poll_fn(|context| {
                if waits[0]
                    && let Poll::Ready(answer) = first.as_mut().poll(context)
                {
                    return Poll::Ready(answer);
                }
                if waits[1]
                    && let Poll::Ready(answer) = second.as_mut().poll(context)
                {
                    return Poll::Ready(answer);
                }
                Poll::Pending
            })
            .await
        };
        self.early.push(answer?);
        while let Some(at) = self.early.iter().position(|(rid, _)| *rid == self.due) {
            let (_, body) = self.early.swap_remove(at);
            self.due += 1;
            self.read_body(&body)?;
            if self.renewed > 0 {
                self.renewed -= 1;
                self.documents.push_back(Bytes::new());
            }
        }
        if self.early.is_empty() {
            self.early = Vec::new();
        }
        Ok(())
    }

    fn read_body(&mut self, body: &Bytes) -> Result<(), ChannelError> {
        let text = || String::from_utf8_lossy(body);
        let root = Root::new(body)
            .filter(|root| root.name() == "body")
            .ok_or_else(|| ChannelError::protocol(format!("expected <body/>, got {}", text())))?;
        if let Some(session) = root.attribute("sid") {
            self.session = Some(session.into());
        }
        self.is_over |= root.attribute("type").as_deref() == Some("terminate");
        let condition = root.attribute("condition");
        let (start, end) = content(body)
            .ok_or_else(|| ChannelError::protocol(format!("<body> has no end: {}", text())))?;
        let mut reader = Reader::new(Limits {
            max_document: MAX_DOCUMENT,
            ..Limits::default()
        });
        for mut input in [SCOPE, &body[start..end]] {
            let mut next = || {
                let event = reader.read(&mut input)?;
                Ok(event.map(|event| match event {
                    Event::Document(document) => Some(Bytes::from(document.to_vec())),
                    Event::Open(_) | Event::Close => None,
                }))
            };
            while let Some(document) =
                next().map_err(|error: megaphone_xmpp::stream::StreamError| {
                    ChannelError::protocol(error.to_string())
                })?
            {
                self.documents.extend(document);
            }
        }
        if self.is_over {
            Err(ChannelError::Closed(
                condition.map_or(String::new(), |condition| format!(" ({condition})")),
            ))
        } else {
            Ok(())
        }
    }
}

/// Where the content of a `<body>` starts and ends.
fn content(body: &[u8]) -> Option<(usize, usize)> {
    let mut quote = None;
    let tag_end = body.iter().position(|byte| match (quote, byte) {
        (None, b'>') => true,
        (None, b'\'' | b'"') => {
            quote = Some(*byte);
            false
        }
        (Some(open), byte) if open == *byte => {
            quote = None;
            false
        }
        _ => false,
    })?;
    if body.get(tag_end.checked_sub(1)?) == Some(&b'/') {
        return Some((tag_end + 1, tag_end + 1));
    }
    let end = memchr::memmem::rfind(body, b"</body")?;
    (end > tag_end).then_some((tag_end + 1, end))
}

impl Channel for Bosh {
    async fn open(&mut self, domain: &str) -> Result<(), ChannelError> {
        let attributes = match self.session {
            None => format!(
                " to='{domain}' wait='{WAIT}' hold='1' ver='1.11' content='text/xml; charset=utf-8' \
                 xml:lang='en' xmpp:version='1.0' xmlns:xmpp='urn:xmpp:xbosh'"
            ),
            Some(_) => format!(
                " to='{domain}' xmpp:restart='true' xml:lang='en' xmlns:xmpp='urn:xmpp:xbosh'"
            ),
        };
        self.request(&attributes, "").await
    }

    async fn send(&mut self, document: &str) -> Result<(), ChannelError> {
        self.request("", &standing_alone(document)).await
    }

    async fn recv(&mut self) -> Result<Bytes, ChannelError> {
        loop {
            if let Some(document) = self.documents.pop_front() {
                if self.documents.is_empty() {
                    self.documents = VecDeque::new();
                }
                return Ok(document);
            }
            if self.is_over {
                return Err(ChannelError::closed());
            }
            if !self.lines.iter().any(Line::waits) {
                self.request("", "").await?;
            }
            self.take_answer().await?;
        }
    }

    async fn keep_alive(&mut self) -> Result<bool, ChannelError> {
        self.request("", "").await?;
        self.renewed += 1;
        Ok(true)
    }

    async fn close(mut self) {
        let gone = "<presence xmlns='jabber:client' type='unavailable'/>";
        if self.request(" type='terminate'", gone).await.is_ok() {
            while !self.is_over && self.take_answer().await.is_ok() {}
        }
        for line in &mut self.lines {
            line.close().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_content_of_a_body() {
        for (body, expected) in [
            ("<body/>", Some("")),
            ("<body sid='a>b'/>", Some("")),
            ("<body a='>' b=\">'\">in</body>", Some("in")),
            (
                "<body><a>&lt;/body&gt;</a></body >",
                Some("<a>&lt;/body&gt;</a>"),
            ),
            ("<body>", None),
            ("<body", None),
        ] {
            let found = content(body.as_bytes()).map(|(start, end)| &body[start..end]);
            assert_eq!(found, expected, "{body}");
        }
    }
}

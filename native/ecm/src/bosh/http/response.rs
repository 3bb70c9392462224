//! HTTP responses: a BOSH answer's, and those that tell a human or a browser what this is.

use bytes::Bytes;

use crate::bosh::answer::{Answer, Status};
use crate::http::answer::Persistence;

/// What a response's head says beside its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResponseHead {
    /// Whether the connection goes on after it.
    pub persistence: Persistence,
    /// Whose scripts may read it.
    pub allow_origin: AllowOrigin,
    /// Whether the body is sent.
    pub shows: Shows,
}

/// The value of `Access-Control-Allow-Origin`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowOrigin {
    /// Everybody's scripts.
    Any,
    /// Those of this origin.
    This(Box<str>),
    /// There are no scripts: the request says no origin.
    Unsaid,
}

/// What a client sees of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shows {
    /// All of it.
    Body,
    /// Its head alone: the request was HEAD.
    Head,
}

/// A response that is no `<body/>`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plain {
    /// The page for a human.
    Page,
    /// What a browser asks before it lets a script send its request.
    Options,
    /// A request without a body.
    Empty,
    /// A method that is none of these.
    Method,
    /// A page's script that may not connect.
    Origin,
    /// A body that is too large.
    TooLarge,
    /// A body with a content coding.
    Coding,
    /// A request that took too long.
    Timeout,
}

const XML: &str = "text/xml; charset=utf-8";

const PAGE: &str = "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>BOSH</title>\
    </head><body><h1>XMPP over BOSH</h1><p>This is the address of a connection manager for \
    <a href=\"https://xmpp.org/extensions/xep-0206.html\">XMPP over BOSH</a> (XEP-0206, \
    <a href=\"https://xmpp.org/extensions/xep-0124.html\">XEP-0124</a>). It is not for browsing: enter it \
    in an XMPP client as the BOSH or HTTP binding address.</p></body></html>\n";

impl ResponseHead {
    /// The response to a request of a session.
    pub fn answer(&self, answer: &Answer, content_type: Option<&str>) -> Bytes {
        let status = match answer.status {
            Status::Ok => "200 OK",
            Status::BadRequest => "400 Bad Request",
            Status::Forbidden => "403 Forbidden",
            Status::NotFound => "404 Not Found",
            Status::BadGateway => "502 Bad Gateway",
        };
        self.write(status, content_type.unwrap_or(XML), "", &answer.body)
    }

    /// A response that is no `<body/>`.
    pub fn plain(&self, plain: Plain) -> Bytes {
        const TEXT: &str = "text/plain; charset=utf-8";
        const METHODS: &str = "Allow: GET, HEAD, POST, OPTIONS\r\n";
        const PREFLIGHT: &str = "Allow: GET, HEAD, POST, OPTIONS\r\n\
            Access-Control-Allow-Methods: GET, POST, OPTIONS\r\n\
            Access-Control-Allow-Headers: Content-Type\r\nAccess-Control-Max-Age: 86400\r\n";
        let (status, content_type, fields, body) = match plain {
            Plain::Page => ("200 OK", "text/html; charset=utf-8", "", PAGE),
            Plain::Options => ("200 OK", TEXT, PREFLIGHT, ""),
            Plain::Empty => (
                "400 Bad Request",
                TEXT,
                "",
                "there is no body; send a <body/> as XEP-0124 has it\n",
            ),
            Plain::Method => (
                "405 Method Not Allowed",
                TEXT,
                METHODS,
                "this is for BOSH; send a POST request\n",
            ),
            Plain::Origin => (
                "403 Forbidden",
                TEXT,
                "",
                "scripts of this page's origin may not connect here\n",
            ),
            Plain::TooLarge => (
                "413 Content Too Large",
                TEXT,
                "",
                "the body is too large; send less at once\n",
            ),
            Plain::Coding => (
                "415 Unsupported Media Type",
                TEXT,
                "Accept-Encoding: identity\r\n",
                "the body has a Content-Encoding that is not decoded here; send it without\n",
            ),
            Plain::Timeout => (
                "408 Request Timeout",
                TEXT,
                "",
                "the request took too long to arrive\n",
            ),
        };
        self.write(status, content_type, fields, body.as_bytes())
    }

    fn write(&self, status: &str, content_type: &str, fields: &str, body: &[u8]) -> Bytes {
        let (allow, origin, vary) = match &self.allow_origin {
            AllowOrigin::Any => ("Access-Control-Allow-Origin: ", "*", "\r\n"),
            AllowOrigin::This(origin) => (
                "Access-Control-Allow-Origin: ",
                &**origin,
                "\r\nVary: Origin\r\n",
            ),
            AllowOrigin::Unsaid => ("", "", ""),
        };
        let length = body.len().to_string();
        let mut out = Vec::with_capacity(320 + fields.len() + body.len());
        for part in [
            "HTTP/1.1 ",
            status,
            "\r\nContent-Type: ",
            content_type,
            "\r\nContent-Length: ",
            &length,
            "\r\n",
            allow,
            origin,
            vary,
            fields,
            // What others wrote is in there: a browser that shows it must run nothing of it.
            "X-Content-Type-Options: nosniff\r\nContent-Security-Policy: sandbox\r\n",
            self.persistence.field(),
            "\r\n",
        ] {
            out.extend_from_slice(part.as_bytes());
        }
        if self.shows == Shows::Body {
            out.extend_from_slice(body);
        }
        out.into()
    }
}

#[cfg(test)]
mod tests {
    use megaphone_http::{Progress, RequestKind, ResponseTracker};

    use super::*;

    fn response(persistence: Persistence, allow_origin: AllowOrigin) -> ResponseHead {
        ResponseHead {
            persistence,
            allow_origin,
            shows: Shows::Body,
        }
    }

    #[test]
    fn an_answers_head() {
        let written =
            response(Persistence::GoesOn, AllowOrigin::Any).answer(&Answer::empty(), None);
        assert_eq!(
            String::from_utf8(written.to_vec()).unwrap(),
            "HTTP/1.1 200 OK\r\nContent-Type: text/xml; charset=utf-8\r\nContent-Length: 52\r\n\
             Access-Control-Allow-Origin: *\r\nX-Content-Type-Options: nosniff\r\n\
             Content-Security-Policy: sandbox\r\n\r\n\
             <body xmlns='http://jabber.org/protocol/httpbind'/>"
                .replace("52", &Answer::empty().body.len().to_string())
        );
        let origin = AllowOrigin::This("https://a.example".into());
        let written =
            response(Persistence::KeptAlive, origin).answer(&Answer::empty(), Some("text/html"));
        let written = String::from_utf8(written.to_vec()).unwrap();
        for field in [
            "\r\nContent-Type: text/html\r\n",
            "\r\nAccess-Control-Allow-Origin: https://a.example\r\nVary: Origin\r\n",
            "\r\nConnection: keep-alive\r\n\r\n",
        ] {
            assert!(written.contains(field), "{written}");
        }
    }

    #[test]
    fn each_response_is_whole() {
        for plain in [
            Plain::Page,
            Plain::Options,
            Plain::Empty,
            Plain::Method,
            Plain::Origin,
            Plain::TooLarge,
            Plain::Coding,
            Plain::Timeout,
        ] {
            for (shows, kind) in [
                (Shows::Body, RequestKind::Other),
                (Shows::Head, RequestKind::Head),
            ] {
                let response = ResponseHead {
                    shows,
                    ..response(Persistence::Closes, AllowOrigin::Unsaid)
                };
                let bytes = response.plain(plain);
                let mut tracker = ResponseTracker::new();
                tracker.start(kind);
                let complete = Progress::Complete {
                    consumed: bytes.len(),
                };
                assert_eq!(tracker.follow(&bytes), complete, "{plain:?}");
                assert!(tracker.closes());
            }
        }
    }
}

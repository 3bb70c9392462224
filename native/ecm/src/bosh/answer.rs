//! Answers to requests.

use bytes::Bytes;
use megaphone_xmpp::bosh::{Condition, Outcome, Response};

/// The answer to a request: an HTTP response's status and body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: Status,
    /// The body, a `<body/>`.
    pub body: Bytes,
}

/// An answer's HTTP status. All but the first and the last are for clients of old (XEP-0124, section 17.1), which are
/// those that didn't say their version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// 200
    Ok,
    /// 400
    BadRequest,
    /// 403
    Forbidden,
    /// 404
    NotFound,
    /// 502: the client sends its request again, whether it looks for a status or for a recoverable condition.
    BadGateway,
}

/// What a client knows of errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Errors {
    /// Terminal binding conditions.
    Conditions,
    /// HTTP's status codes: it never said the version that it speaks.
    StatusCodes,
}

const EMPTY: &[u8] = b"<body xmlns='http://jabber.org/protocol/httpbind'/>";

impl Answer {
    /// A `<body/>` that says nothing.
    #[must_use]
    pub const fn empty() -> Self {
        Self {
            status: Status::Ok,
            body: Bytes::from_static(EMPTY),
        }
    }

    /// The answer to a request that belongs to no session: the session, if there was one, is over.
    #[must_use]
    pub fn terminate(condition: Condition) -> Self {
        Self::terminate_for(condition, Errors::Conditions)
    }

    /// The answer to a request that another ECM has, or not: the client sends it again (XEP-0124, 17.3).
    #[must_use]
    pub fn try_again() -> Self {
        let response = Response {
            outcome: Outcome::Error,
            ..Response::default()
        };
        Self {
            status: Status::BadGateway,
            ..Self::new(&response, &[], Errors::Conditions)
        }
    }

    /// [`terminate`](Self::terminate) for a client that knows these errors.
    pub(super) fn terminate_for(condition: Condition, errors: Errors) -> Self {
        let response = Response {
            outcome: Outcome::TerminateWith(condition),
            ..Response::default()
        };
        Self::new(&response, &[], errors)
    }

    /// The answer of these attributes and documents.
    pub(super) fn new(response: &Response<'_>, documents: &[Bytes], errors: Errors) -> Self {
        if documents.is_empty() && *response == Response::default() {
            return Self::empty();
        }
        let mut body = Vec::new();
        response.write(&mut body, documents);
        body.shrink_to_fit();
        Self {
            status: Status::of(response.outcome, errors),
            body: body.into(),
        }
    }
}

impl Status {
    const fn of(outcome: Outcome<'_>, errors: Errors) -> Self {
        match (errors, outcome) {
            (Errors::StatusCodes, Outcome::TerminateWith(condition)) => match condition {
                Condition::BadRequest => Self::BadRequest,
                Condition::PolicyViolation => Self::Forbidden,
                Condition::ItemNotFound => Self::NotFound,
                _ => Self::Ok,
            },
            _ => Self::Ok,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_answer_is_what_an_empty_response_writes() {
        let mut written = Vec::new();
        Response::default().write(&mut written, &[] as &[Bytes]);
        assert_eq!(Answer::empty().body, written);
    }

    #[test]
    fn clients_of_old_get_http_errors() {
        for (condition, status) in [
            (Condition::BadRequest, Status::BadRequest),
            (Condition::PolicyViolation, Status::Forbidden),
            (Condition::ItemNotFound, Status::NotFound),
            (Condition::SystemShutdown, Status::Ok),
        ] {
            let outcome = Outcome::TerminateWith(condition);
            assert_eq!(Status::of(outcome, Errors::StatusCodes), status);
            assert_eq!(Status::of(outcome, Errors::Conditions), Status::Ok);
        }
    }
}

use super::*;
use Progress::{Complete, UntilClose, Upgraded, Within};
use RequestKind::{Connect, Head, Other};

/// What following `input` in pieces of `piece` bytes ended in, `consumed` counted from its start.
fn follow(kind: RequestKind, input: &[u8], piece: usize) -> (Progress, ResponseTracker) {
    let mut tracker = ResponseTracker::new();
    tracker.start(kind);
    let mut before = 0;
    for part in input.chunks(piece) {
        match tracker.follow(part) {
            Within => before += part.len(),
            Complete { consumed } => {
                return (
                    Complete {
                        consumed: before + consumed,
                    },
                    tracker,
                );
            }
            Upgraded { consumed } => {
                return (
                    Upgraded {
                        consumed: before + consumed,
                    },
                    tracker,
                );
            }
            UntilClose => return (UntilClose, tracker),
        }
    }
    (Within, tracker)
}

/// `|` marks where the answer ends.
fn rows() -> Vec<(RequestKind, &'static str, Progress)> {
    let complete = Complete { consumed: 0 };
    let upgraded = Upgraded { consumed: 0 };
    vec![
        (
            Other,
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok|more",
            complete,
        ),
        (
            Other,
            "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n|more",
            complete,
        ),
        (
            Other,
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nContent-Length: 2\r\n\r\nok|",
            complete,
        ),
        (
            Other,
            "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok|",
            complete,
        ),
        (Other, "HTTP/1.1 200 OK\nContent-Length: 2\n\nok|", complete),
        (
            Other,
            "\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok|",
            complete,
        ),
        (
            Other,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n|x",
            complete,
        ),
        (
            Other,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\nA: b\r\n\r\n|",
            complete,
        ),
        (
            Other,
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n|",
            complete,
        ),
        (
            Other,
            "HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n|",
            complete,
        ),
        (
            Head,
            "HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\n|",
            complete,
        ),
        (
            Head,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n|",
            complete,
        ),
        (Head, "HTTP/1.1 200 OK\r\n\r\n|", complete),
        (
            Connect,
            "HTTP/1.1 400 Bad Request\r\nContent-Length: 1\r\n\r\nx|",
            complete,
        ),
        (Connect, "HTTP/1.1 200 OK\r\n\r\n|tunnel", upgraded),
        (
            Other,
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n|frames",
            upgraded,
        ),
        (
            Other,
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 101 Switching Protocols\r\n\r\n|x",
            upgraded,
        ),
        (Other, "HTTP/1.1 200 OK\r\n\r\nuntil close", UntilClose),
        (
            Other,
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
            UntilClose,
        ),
        (
            Other,
            "HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\nx",
            UntilClose,
        ),
        (
            Other,
            "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nx",
            UntilClose,
        ),
        (
            Other,
            "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx",
            UntilClose,
        ),
        (
            Other,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nx",
            UntilClose,
        ),
        (
            Other,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n",
            UntilClose,
        ),
        (Other, "HTTP/2 200 OK\r\n\r\n", UntilClose),
        (Other, "HTTP/1.1 200 OK\r\nA b\r\n\r\nx", UntilClose),
        (
            Other,
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no",
            Within,
        ),
        (Other, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", Within),
        (Other, "HTTP/1.1 100 Continue\r\n\r\n", Within),
        (Other, "", Within),
    ]
}

#[test]
fn each_answer_ends_where_it_should_in_any_chunking() {
    for (kind, marked, expected) in rows() {
        let end = marked.find('|').unwrap_or_default();
        let input = marked.replace('|', "");
        let expected = match expected {
            Complete { .. } => Complete { consumed: end },
            Upgraded { .. } => Upgraded { consumed: end },
            other => other,
        };
        for piece in [1, 2, 3, 7, input.len().max(1)] {
            let (found, _) = follow(kind, input.as_bytes(), piece);
            assert_eq!(found, expected, "{kind:?} {input:?} by {piece}");
        }
    }
}

#[test]
fn it_says_whether_the_answer_closes() {
    let rows = [
        ("HTTP/1.1 204 No Content\r\n\r\n", false),
        ("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n", true),
        (
            "HTTP/1.1 204 No Content\r\nConnection: foo, Close\r\n\r\n",
            true,
        ),
        ("HTTP/1.0 204 No Content\r\n\r\n", true),
        (
            "HTTP/1.0 204 No Content\r\nConnection: keep-alive\r\n\r\n",
            false,
        ),
        ("HTTP/1.1 200 OK\r\n\r\n", true),
    ];
    for (input, expected) in rows {
        let (_, tracker) = follow(Other, input.as_bytes(), input.len());
        assert_eq!(tracker.closes(), expected, "{input:?}");
    }
}

#[test]
fn interim_answers_dont_begin_the_answer() {
    let mut tracker = ResponseTracker::new();
    tracker.start(Other);
    assert!(!tracker.began());
    assert_eq!(tracker.follow(b"HTTP/1.1 100 Continue\r\n\r\n"), Within);
    assert!(!tracker.began(), "100 Continue is not the answer");
    assert!(tracker.continued());
    assert_eq!(tracker.follow(b"HTTP/1.1 2"), Within);
    assert!(tracker.began());
    assert_eq!(
        tracker.follow(b"04 No Content\r\n\r\n"),
        Complete { consumed: 17 }
    );
    tracker.start(Other);
    assert!(!tracker.began() && !tracker.continued() && !tracker.closes());
}

#[test]
fn bytes_that_nobody_asked_for_end_http() {
    let mut tracker = ResponseTracker::new();
    assert_eq!(tracker.follow(b""), Within);
    assert_eq!(tracker.follow(b"HTTP/1.1 200 OK\r\n"), UntilClose);
}

#[test]
fn a_head_without_end_is_not_kept_for_ever() {
    let mut tracker = ResponseTracker::new();
    tracker.start(Other);
    let mut progress = tracker.follow(b"HTTP/1.1 200 OK\r\nA: ");
    for _ in 0..70 {
        assert_eq!(progress, Within, "before the limit");
        progress = tracker.follow(&[b'x'; 1000]);
        if progress == UntilClose {
            return;
        }
    }
    panic!("70,000 bytes of head were kept");
}

#[test]
fn it_is_small() {
    assert_eq!(size_of::<ResponseTracker>(), 24);
}

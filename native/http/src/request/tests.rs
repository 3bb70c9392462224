use super::*;

/// The events of `input` in pieces of `piece` bytes, body pieces joined.
fn events(input: &[u8], piece: usize) -> Result<Vec<Event>, RequestError> {
    let mut decoder = RequestDecoder::new(Limits::default());
    let mut buffer = BytesMut::new();
    let mut events: Vec<Event> = Vec::new();
    for part in input.chunks(piece) {
        buffer.extend_from_slice(part);
        while let Some(event) = decoder.decode(&mut buffer)? {
            match (events.last_mut(), event) {
                (Some(Event::Body(body)), Event::Body(more)) => {
                    *body = [&body[..], &more].concat().into();
                }
                (_, event) => events.push(event),
            }
        }
    }
    Ok(events)
}

fn head(input: &str) -> RequestHead {
    match events(input.as_bytes(), input.len()) {
        Ok(events) => match events.into_iter().next() {
            Some(Event::Head(head)) => head,
            other => panic!("no head but {other:?} in {input:?}"),
        },
        Err(error) => panic!("{error} in {input:?}"),
    }
}

#[test]
fn a_head_is_what_the_client_sent() {
    let input = "POST /a?b HTTP/1.1\r\nHost: x\r\nCOOKIE:  a=b \t\r\ncookie:c\r\nEmpty:\r\n\r\n";
    let head = head(input);
    assert_eq!(head.method(), "POST");
    assert_eq!(head.target(), "/a?b");
    assert_eq!(head.version(), Version::Http11);
    assert_eq!(head.body(), BodyLength::None);
    assert_eq!(head.kind(), RequestKind::Other);
    assert_eq!(head.header("cookie"), Some(&b"a=b"[..]));
    assert_eq!(head.header("absent"), None);
    assert_eq!(
        head.header_values("Cookie").collect::<Vec<_>>(),
        [&b"a=b"[..], b"c"]
    );
    let names: Vec<_> = head.headers().map(|(name, _)| name).collect();
    assert_eq!(names, ["Host", "COOKIE", "cookie", "Empty"]);
    assert_eq!(head.as_bytes(), input.as_bytes());
    assert_eq!(head.share(head.target().as_bytes()), "/a?b");
}

#[test]
fn bodies_are_delimited_by_their_framing_whatever_the_method() {
    let chunked = "Transfer-Encoding: Chunked";
    let rows = [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", BodyLength::None, ""),
        ("POST / HTTP/1.1\r\nHost: a\r\n\r\n", BodyLength::None, ""),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
            BodyLength::Length(0),
            "",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
            BodyLength::Length(5),
            "hello",
        ),
        (
            "POST / HTTP/1.1\r\nHost: a\r\ncontent-length:\t005 \r\n\r\nhello",
            BodyLength::Length(5),
            "hello",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
            BodyLength::Length(2),
            "hi",
        ),
        (
            "HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
            BodyLength::Length(2),
            "hi",
        ),
        (
            "DELETE / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
            BodyLength::Length(2),
            "hi",
        ),
        (
            "OPTIONS * HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi",
            BodyLength::Length(2),
            "hi",
        ),
        (
            "POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi",
            BodyLength::Length(2),
            "hi",
        ),
        (
            &format!("PUT / HTTP/1.1\r\nHost: a\r\n{chunked}\r\n\r\n2\r\nhi\r\n0\r\nA: b\r\n\r\n"),
            BodyLength::Chunked,
            "hi",
        ),
        (
            &format!("GET / HTTP/1.1\r\nHost: a\r\n{chunked}\r\n\r\n0\r\n\r\n"),
            BodyLength::Chunked,
            "",
        ),
    ];
    for (input, length, body) in rows {
        for piece in [1, 3, input.len()] {
            let twice = [input, input].concat();
            let events = events(twice.as_bytes(), piece).expect("accepted");
            let head = head(input);
            assert_eq!(head.body(), length, "{input:?}");
            let mut expected = vec![Event::Head(head)];
            if !body.is_empty() {
                expected.push(Event::Body(Bytes::from(body.to_owned())));
            }
            expected.push(Event::End);
            expected.extend(expected.clone());
            assert_eq!(events, expected, "{input:?} twice, by {piece}");
        }
    }
}

#[test]
fn targets_of_all_four_forms() {
    let accepted = [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET //a/../b?c=d&e HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /{}|\\^`\"<> HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a/b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET HTTP://A:80 HTTP/1.1\r\nHost: a:80\r\n\r\n",
        "GET http://a?b HTTP/1.1\r\nHost: a:\r\n\r\n",
        "GET https://a:443/b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://[::1]:80/ HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
        "GET http://a/b HTTP/1.0\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
        "brew / HTTP/1.1\r\nHost:\r\n\r\n",
        "!#$%&'*+-.^_`|~09 / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ];
    for input in accepted {
        let trimmed = input.trim_start();
        let words: Vec<_> = trimmed.split(' ').collect();
        let head = head(input);
        assert_eq!(
            (head.method(), head.target()),
            (words[0], words[1]),
            "{input:?}"
        );
    }
}

#[test]
fn what_a_head_says_about_its_connection() {
    // Upgrade, expects_continue, keep_alive.
    let rows = [
        ("GET / HTTP/1.1\r\nHost: a\r\n\r\n", (false, false, true)),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            (false, false, false),
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Close\r\n\r\n",
            (false, false, false),
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: x\r\nConnection: close\r\n\r\n",
            (false, false, false),
        ),
        ("GET / HTTP/1.0\r\n\r\n", (false, false, false)),
        (
            "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
            (false, false, true),
        ),
        (
            "GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n",
            (false, false, false),
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n",
            (true, false, true),
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
            (false, false, true),
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\n\r\n",
            (false, false, true),
        ),
        (
            "GET / HTTP/1.0\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
            (false, false, false),
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\n\r\n",
            (false, true, true),
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\n\r\n",
            (false, false, true),
        ),
        (
            "GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n",
            (false, false, false),
        ),
    ];
    for (input, expected) in rows {
        let head = head(input);
        let found = (head.upgrade(), head.expects_continue(), head.keep_alive());
        assert_eq!(found, expected, "{input:?}");
    }
}

#[test]
fn refused() {
    let large = format!("GET / HTTP/1.1\r\nA: {}", "x".repeat(65_536));
    let many = format!("GET / HTTP/1.1\r\n{}", "A: b\r\n".repeat(101));
    let empty = "\r\n".repeat(9);
    let rows: &[(&[u8], &str)] = &[
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "conflicting_content_length"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", "repeated_content_length"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "content_length_with_transfer_encoding"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", "content_length_with_transfer_encoding"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\nContent-Length: 1\r\n\r\n", "content_length_with_transfer_encoding"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n", "unknown_transfer_coding"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", "unknown_transfer_coding"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n", "unknown_transfer_coding"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n", "unknown_transfer_coding"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n", "unknown_transfer_coding"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n", "unknown_transfer_coding"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n", "unknown_transfer_coding"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", "repeated_transfer_encoding"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n", "repeated_transfer_encoding"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n", "control_byte_in_value"),
        (b"GET / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", "transfer_encoding_in_http_10"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", "bad_content_length"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", "bad_content_length"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1 0\r\n\r\n", "bad_content_length"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n", "bad_content_length"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x1\r\n\r\n", "bad_content_length"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1_0\r\n\r\n", "bad_content_length"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: \xd9\xa1\r\n\r\n", "bad_content_length"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n", "bad_content_length"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n", "content_length_overflow"),
        (b"GET / HTTP/1.1\nHost: a\r\n\r\n", "bare_lf"),
        (b"GET / HTTP/1.1\r\nHost: a\n\r\n", "bare_lf"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\n", "bare_lf"),
        (b"GET / HTTP/1.1\nHost: a\n\n", "bare_lf"),
        (b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", "bare_lf"),
        (b"GET / HTTP/1.1\r\nHost: a\rb\r\n\r\n", "bare_cr"),
        (b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n", "bare_cr"),
        (b"GET / HTTP/1.1\r\nHo\rst: a\r\n\r\n", "bare_cr"),
        (b"GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", "bare_cr"),
        (b"GET /\rHTTP/1.1\r\nHost: a\r\n\r\n", "bare_cr"),
        (b"\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", "bare_cr"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nA: b\r\n c\r\n\r\n", "obs_fold"),
        (b"GET / HTTP/1.1\r\nHost: a\r\n\tc: d\r\n\r\n", "obs_fold"),
        (b"GET / HTTP/1.1\r\n Host: a\r\n\r\n", "obs_fold"),
        (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", "space_before_colon"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length\t: 5\r\n\r\n", "space_before_colon"),
        (b"GET / HTTP/1.1\r\nHost\r\n\r\n", "missing_colon"),
        (b"GET / HTTP/1.1\r\nHo st: a\r\n\r\n", "bad_header_name"),
        (b"GET / HTTP/1.1\r\nHost : a b : c\r\n\r\n", "space_before_colon"),
        (b"GET / HTTP/1.1\r\n: a\r\n\r\n", "bad_header_name"),
        (b"GET / HTTP/1.1\r\nHo\x00st: a\r\n\r\n", "bad_header_name"),
        (b"GET / HTTP/1.1\r\nHo\xc3\xa4st: a\r\n\r\n", "bad_header_name"),
        (b"GET / HTTP/1.1\r\n(a): b\r\n\r\n", "bad_header_name"),
        (b"GET / HTTP/1.1\r\nHost: a\x00b\r\n\r\n", "control_byte_in_value"),
        (b"GET / HTTP/1.1\r\nHost: a\x7f\r\n\r\n", "control_byte_in_value"),
        (b"GET / HTTP/1.1\r\nHost: \x1ba\r\n\r\n", "control_byte_in_value"),
        (b" GET / HTTP/1.1\r\n\r\n", "bad_method"),
        (b"(GET) / HTTP/1.1\r\n\r\n", "bad_method"),
        (b"GE\tT / HTTP/1.1\r\n\r\n", "bad_method"),
        (b"GET\r\n\r\n", "bad_method"),
        (b"G\xc3\xa4T / HTTP/1.1\r\n\r\n", "bad_method"),
        (b"{\"a\":1}\r\n", "bad_method"),
        (b"GET  / HTTP/1.1\r\n\r\n", "bad_target"),
        (b"GET \r\n\r\n", "bad_target"),
        (b"GET /\t HTTP/1.1\r\n\r\n", "bad_target"),
        (b"GET /\x00 HTTP/1.1\r\n\r\n", "bad_target"),
        (b"GET /\x7f HTTP/1.1\r\n\r\n", "bad_target"),
        (b"GET /\xff HTTP/1.1\r\n\r\n", "non_ascii_target"),
        (b"GET /\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n", "non_ascii_target"),
        (b"GET /a?\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n", "non_ascii_target"),
        (b"GET /#\xc3\xa4 HTTP/1.1\r\nHost: a\r\n\r\n", "fragment_in_target"),
        (b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", "fragment_in_target"),
        (b"GET http://a#b HTTP/1.1\r\nHost: a\r\n\r\n", "fragment_in_target"),
        (b"OPTIONS *# HTTP/1.1\r\nHost: a\r\n\r\n", "fragment_in_target"),
        (b"GET http://b@a/ HTTP/1.1\r\nHost: b\r\n\r\n", "user_in_target"),
        (b"GET http://b:c@a/ HTTP/1.1\r\nHost: a\r\n\r\n", "user_in_target"),
        (b"GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", "bad_escape"),
        (b"GET /a%00 HTTP/1.1\r\nHost: a\r\n\r\n", "bad_escape"),
        (b"GET a:1 HTTP/1.1\r\nHost: a\r\n\r\n", "bad_target"),
        (b"POST * HTTP/1.1\r\nHost: a\r\n\r\n", "bad_target"),
        (b"CONNECT a:0 HTTP/1.1\r\nHost: a\r\n\r\n", "bad_target"),
        (b"GET http://a:99999/ HTTP/1.1\r\nHost: a\r\n\r\n", "bad_target"),
        (b"GET a HTTP/1.1\r\nHost: a\r\n\r\n", "bad_target"),
        (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", "bad_target"),
        (b"GET ? HTTP/1.1\r\nHost: a\r\n\r\n", "bad_target"),
        (b"GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n", "bad_target"),
        (b"GET 1a://a HTTP/1.1\r\nHost: a\r\n\r\n", "bad_target"),
        (b"CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", "bad_target"),
        (b"CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", "bad_target"),
        (b"CONNECT a:b HTTP/1.1\r\nHost: a\r\n\r\n", "bad_target"),
        (b"GET /\r\n\r\n", "bad_version"),
        (b"GET / \r\n\r\n", "bad_version"),
        (b"GET / HTTP/1.1 \r\n\r\n", "bad_version"),
        (b"GET /  HTTP/1.1\r\n\r\n", "bad_version"),
        (b"GET /a b HTTP/1.1\r\n\r\n", "bad_version"),
        (b"GET / http/1.1\r\n\r\n", "bad_version"),
        (b"GET / HTTP/1\r\n\r\n", "bad_version"),
        (b"GET / HTTP/1.10\r\n\r\n", "bad_version"),
        (b"GET / HTTP/01.1\r\n\r\n", "bad_version"),
        (b"GET / HTTP/1,1\r\n\r\n", "bad_version"),
        (b"GET / HTTP/0.9\r\n\r\n", "unsupported_version"),
        (b"GET / HTTP/1.2\r\n\r\n", "unsupported_version"),
        (b"GET / HTTP/2.0\r\n\r\n", "unsupported_version"),
        (b"GET / HTTP/3.0\r\n\r\n", "unsupported_version"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "http2_preface"),
        (b"\x16\x03\x01\x02\x00\x01\x00", "tls_handshake"),
        (b"GET / HTTP/1.1\r\n\r\n", "missing_host"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "repeated_host"),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "bad_host"),
        (b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "bad_host"),
        (b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", "bad_host"),
        (b"GET / HTTP/1.1\r\nHost: \xc3\xa4\r\n\r\n", "bad_host"),
        (b"GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", "host_disagrees"),
        (b"GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n", "bad_host"),
        (b"GET / HTTP/1.0\r\nHost: a:65536\r\n\r\n", "bad_host"),
        (b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n", "bad_host"),
        (b"GET / HTTP/1.1\r\nHost: :80\r\n\r\n", "bad_host"),
        (b"GET / HTTP/1.1\r\nHost: ::1\r\n\r\n", "bad_host"),
        (b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", "bad_host"),
        (b"GET / HTTP/1.1\r\nHost: [a]:80\r\n\r\n", "bad_host"),
        (b"GET / HTTP/1.1\r\nHost: http://a\r\n\r\n", "bad_host"),
        (b"GET http://a:81/ HTTP/1.1\r\nHost: a\r\n\r\n", "host_disagrees"),
        (b"GET https://a:80/ HTTP/1.1\r\nHost: a\r\n\r\n", "host_disagrees"),
        (large.as_bytes(), "head_too_large"),
        (many.as_bytes(), "too_many_headers"),
        (empty.as_bytes(), "too_many_empty_lines"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", "bad_chunk_size"),
        (b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1400001\r\n", "chunked_body_too_large"),
    ];
    for (input, expected) in rows {
        for piece in [1, 2, input.len()] {
            let error = events(input, piece).expect_err(&input.escape_ascii().to_string());
            assert_eq!(
                error.name(),
                *expected,
                "{} by {piece}",
                input.escape_ascii()
            );
        }
    }
}

#[test]
fn a_refusal_says_where() {
    let rows: [(&str, &str); 6] = [
        (
            "GET / HTTP/1.1\r\nHost: a\nB: c\r\n",
            "a line feed without carriage return at byte 23 of the head; end lines with CR LF",
        ),
        (
            "GET / HTTP/1.1\r\nHost : a\r\n",
            "whitespace before the colon of header \"Host\" at byte 20 of the head; remove it",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\0\r\n",
            "control byte 0x00 in the value of header \"Host\" at byte 23 of the head; remove or encode it",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
            "Content-Length at byte 41 of the head is not a plain decimal number; send digits alone",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
            "Host is repeated at byte 25 of the head; send exactly one",
        ),
        (
            "PRI * HTTP/2.0\r\n\r\n",
            "HTTP/2 is not spoken on this port; please connect with HTTP/1.1",
        ),
    ];
    for (input, expected) in rows {
        let error = events(input.as_bytes(), input.len()).expect_err(expected);
        assert_eq!(error.to_string(), expected, "{input:?}");
    }
}

#[test]
fn an_error_is_final() {
    let mut decoder = RequestDecoder::new(Limits::default());
    let error = decoder
        .decode(&mut BytesMut::from("("))
        .expect_err("no token");
    let again = decoder.decode(&mut BytesMut::from("GET / HTTP/1.0\r\n\r\n"));
    assert_eq!(again, Err(error));
}

#[test]
fn an_upgrade_waits_for_the_answer() {
    let upgrade =
        "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let connect = "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n";
    for request in [upgrade, connect] {
        let behind = "GET / HTTP/1.0\r\n\r\n";
        let held = || {
            let mut decoder = RequestDecoder::new(Limits::default());
            let mut input = BytesMut::from([request, behind].concat().as_str());
            assert!(matches!(
                decoder.decode(&mut input),
                Ok(Some(Event::Head(_)))
            ));
            assert_eq!(decoder.decode(&mut input), Ok(Some(Event::End)));
            assert_eq!(decoder.decode(&mut input), Ok(None));
            assert!(decoder.is_held());
            (decoder, input)
        };
        let (mut decoder, mut input) = held();
        decoder.resume_http();
        assert!(
            matches!(decoder.decode(&mut input), Ok(Some(Event::Head(_)))),
            "{request:?}"
        );
        let (mut decoder, mut input) = held();
        decoder.switch_to_raw();
        let raw = Event::Raw(Bytes::from(behind));
        assert_eq!(decoder.decode(&mut input), Ok(Some(raw)), "{request:?}");
        assert_eq!(decoder.decode(&mut input), Ok(None));
    }
}

#[test]
fn fields_are_dropped_replaced_and_appended() {
    let input = "PUT / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\nEXPECT: 100-continue\r\n\
        Transfer-Encoding: chunked\r\nx-forwarded-for:\r\nx-forwarded-for: 2.2.2.2 \r\nLast:x\r\n\r\n";
    let edit = HeadEdit::new()
        .drop("Expect")
        .drop("Transfer-Encoding")
        .replace("Content-Length", 5.into())
        .append(
            "X-Forwarded-For",
            std::net::IpAddr::from([3, 3, 3, 3]).into(),
        );
    let mut out = BytesMut::new();
    head(input).write(&edit, &mut out);
    let expected = "PUT / HTTP/1.1\r\nHost: a\r\nLast:x\r\nContent-Length: 5\r\n\
        X-Forwarded-For: 1.1.1.1, 2.2.2.2, 3.3.3.3\r\n\r\n";
    assert_eq!(out, expected);
}

#[test]
fn a_value_cant_bring_a_line_end() {
    use crate::edit::{FieldValue, InvalidFieldValue};
    assert_eq!(
        FieldValue::try_from("a\r\nB: c"),
        Err(InvalidFieldValue { at: 1 })
    );
    assert_eq!(
        FieldValue::try_from(" a\tb ").map(|value| value.to_string()),
        Ok("a\tb".into())
    );
}

#[test]
fn a_head_may_have_its_limit_and_no_more() {
    let whole = |length: usize| {
        let head = "GET / HTTP/1.0\r\nA: \r\n\r\n";
        head.replace("A: ", &format!("A: {}", "x".repeat(length - head.len())))
    };
    for piece in [1000, 65_537] {
        let largest = events(whole(65_536).as_bytes(), piece).map(|events| events.len());
        assert_eq!(largest, Ok(2), "by {piece}");
        let larger = events(whole(65_537).as_bytes(), piece);
        assert_eq!(
            larger,
            Err(RequestError::HeadTooLarge { limit: 65_536 }),
            "by {piece}"
        );
    }
}

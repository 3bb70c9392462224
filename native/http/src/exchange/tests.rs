use super::*;

const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
const GET: &[u8] = b"GET /get HTTP/1.1\r\nHost: a\r\n\r\n";
const UPGRADE: &[u8] =
    b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
const SWITCHED: &[u8] = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n";

fn exchange() -> Exchange {
    Exchange::new(Limits {
        max_head: 500,
        max_headers: 20,
        max_collected_body: 100,
        max_chunked_body: 1000,
    })
}

/// An exchange that received these bytes.
fn given(bytes: &[u8]) -> Exchange {
    let mut exchange = exchange();
    exchange.receive(bytes);
    exchange
}

fn post(length: usize) -> String {
    format!("POST /post HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n")
}

fn chunked(fields: &str) -> String {
    format!("POST /c HTTP/1.1\r\nHost: a\r\n{fields}Transfer-Encoding: chunked\r\n\r\n")
}

#[track_caller]
fn reads(exchange: &mut Exchange, expected: &[u8]) {
    let found = exchange.peek().to_vec();
    assert_eq!(
        found.escape_ascii().to_string(),
        expected.escape_ascii().to_string()
    );
    exchange.consume(found.len());
}

#[track_caller]
fn is_refused(exchange: &mut Exchange, name: &str) {
    assert_eq!(exchange.refusal().map(RequestError::name), Some(name));
    assert_eq!(exchange.readable(), 0);
    assert!(!exchange.must_close(), "the reply comes first");
    let reply = exchange.take_reply().expect("a reply");
    assert_eq!(Some(reply), exchange.refusal().map(RequestError::response));
    assert!(exchange.must_close() && exchange.at_end());
    assert_eq!(exchange.take_reply(), None);
    exchange.receive(GET);
    assert_eq!(
        (exchange.readable(), exchange.buffered()),
        (0, 0),
        "nothing follows a refusal"
    );
}

#[track_caller]
fn is_over(exchange: &mut Exchange) {
    assert_eq!(exchange.take_reply(), None);
    assert!(exchange.must_close() && exchange.at_end() && !exchange.is_idle());
    exchange.receive(GET);
    assert_eq!(
        (exchange.readable(), exchange.buffered()),
        (0, 0),
        "nothing is held any more"
    );
}

#[test]
fn it_is_small() {
    assert_eq!(size_of::<Exchange>(), 72);
}

#[test]
fn a_request_without_body_passes_byte_for_byte() {
    let mut exchange = exchange();
    assert!(exchange.is_idle() && !exchange.in_flight());
    let request = b"ODD /%?x=y HTTP/1.1\r\nhOST:a\r\nx:\t  y\r\nEmpty: \r\n\r\n";
    exchange.receive(request);
    assert!(exchange.in_flight() && !exchange.is_idle());
    reads(&mut exchange, request);
    exchange.send(OK);
    assert!(exchange.is_idle() && !exchange.in_flight());
}

#[test]
fn a_head_is_readable_when_it_is_whole() {
    let mut exchange = given(&GET[..GET.len() - 1]);
    assert_eq!(exchange.readable(), 0);
    assert_eq!(exchange.buffered(), GET.len() - 1);
    assert!(!exchange.in_flight() && !exchange.is_idle());
    exchange.receive(b"\n");
    reads(&mut exchange, GET);
}

#[test]
fn a_small_body_is_collected() {
    let mut exchange = given(post(100).as_bytes());
    exchange.receive(&[b'x'; 99]);
    assert_eq!(exchange.readable(), 0);
    exchange.receive(b"y");
    assert_eq!(exchange.readable(), post(100).len() + 100);
    assert_eq!(exchange.piece(), post(100).as_bytes());
    exchange.consume(10);
    assert_eq!(exchange.piece(), &post(100).as_bytes()[10..]);
    exchange.consume(exchange.piece().len());
    assert_eq!(exchange.piece(), exchange.peek());
    assert_eq!(exchange.readable(), 100);
}

#[test]
fn an_exact_read_may_cross_from_head_to_body() {
    let mut exchange = given(&[post(3).as_bytes(), b"abc"].concat());
    exchange.consume(post(3).len() + 1);
    assert_eq!(exchange.piece(), b"bc");
}

#[test]
fn a_large_body_is_streamed() {
    let mut exchange = given(&[post(101).as_bytes(), &[b'x'; 50]].concat());
    assert!(exchange.in_flight());
    reads(&mut exchange, &[post(101).as_bytes(), &[b'x'; 50]].concat());
    assert_eq!(exchange.buffered(), 0);
    exchange.receive(&[b'y'; 20]);
    reads(&mut exchange, &[b'y'; 20]);
    exchange.receive(&[&[b'z'; 31], GET].concat());
    reads(&mut exchange, &[b'z'; 31]);
    assert_eq!(exchange.buffered(), GET.len());
    exchange.send(OK);
    reads(&mut exchange, GET);
}

#[test]
fn the_next_request_waits_for_the_answer() {
    let mut exchange = given(&[GET, GET, GET].concat());
    for answer in [OK, b"HTTP/1.1 204 No\r\n\r\n", OK] {
        reads(&mut exchange, GET);
        assert_eq!(exchange.readable(), 0);
        let (start, end) = answer.split_at(answer.len() - 1);
        exchange.send(start);
        assert_eq!(exchange.readable(), 0, "the answer isn't complete");
        exchange.send(end);
    }
    assert!(exchange.is_idle());
}

#[test]
fn an_answer_drops_what_was_not_read() {
    let smuggled = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut exchange = given(&[post(smuggled.len()).as_bytes(), smuggled, GET].concat());
    exchange.consume(post(smuggled.len()).len());
    exchange.send(OK);
    reads(&mut exchange, GET);

    let mut exchange = given(&[post(200).as_bytes(), &[b'x'; 50]].concat());
    exchange.consume(10);
    exchange.send(OK);
    assert_eq!(exchange.readable(), 0);
    exchange.receive(&[b'x'; 100]);
    assert_eq!((exchange.readable(), exchange.buffered()), (0, 0));
    exchange.receive(&[&[b'x'; 50], GET].concat());
    reads(&mut exchange, GET);
}

#[test]
fn a_chunked_body_gets_its_length() {
    let input =
        chunked("A: b \r\nTrailer: X\r\n") + "5;ext\r\nhello\r\n6\r\n world\r\n0\r\nX: y\r\n\r\n";
    let expected = b"POST /c HTTP/1.1\r\nHost: a\r\nA: b\r\nContent-Length: 11\r\n\r\nhello world";
    for piece in [1, 2, 5, input.len()] {
        let mut exchange = exchange();
        for part in input.as_bytes().chunks(piece) {
            assert_eq!(exchange.readable(), 0);
            exchange.receive(part);
        }
        assert!(exchange.piece().ends_with(b"\r\n\r\n"), "by {piece}");
        reads(&mut exchange, expected);
        assert_eq!(exchange.take_reply(), None);
        exchange.receive(GET);
        exchange.send(OK);
        reads(&mut exchange, GET);
    }
}

#[test]
fn an_empty_chunked_body_has_length_0() {
    let mut exchange = given((chunked("") + "0\r\n\r\n").as_bytes());
    reads(
        &mut exchange,
        b"POST /c HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
    );
}

#[test]
fn a_chunked_body_may_have_its_limit_and_no_more() {
    let mut exchange =
        given((chunked("") + "3e8\r\n" + &"x".repeat(1000) + "\r\n0\r\n\r\n").as_bytes());
    let head = b"POST /c HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n";
    assert_eq!(exchange.piece(), head);
    assert_eq!(exchange.readable(), head.len() + 1000);
    exchange.send(OK);
    exchange.receive((chunked("") + "3e9\r\n").as_bytes());
    is_refused(&mut exchange, "chunked_body_too_large");
}

#[test]
fn whitespace_behind_values_is_removed() {
    let mut exchange =
        given(b"POST / HTTP/1.1\r\nHost: a\t\r\nContent-Length:  5 \t \r\nA: b\r\n\r\nhel");
    assert_eq!(exchange.readable(), 0);
    exchange.receive(b"loGET");
    reads(
        &mut exchange,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length:  5\r\nA: b\r\n\r\nhello",
    );
    assert_eq!(exchange.buffered(), 3);
}

#[test]
fn the_server_says_continue_for_a_body_with_length() {
    let request = b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    let mut exchange = given(request);
    assert_eq!(exchange.take_reply(), None);
    reads(&mut exchange, request);
    exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n");
    exchange.receive(b"hello");
    reads(&mut exchange, b"hello");
    exchange.send(OK);
    assert!(exchange.is_idle());
}

#[test]
fn the_exchange_says_continue_for_a_chunked_body() {
    let mut exchange = given(chunked("Expect: 100-continue\r\n").as_bytes());
    assert_eq!(
        exchange.take_reply().as_deref(),
        Some(&b"HTTP/1.1 100 Continue\r\n\r\n"[..])
    );
    assert_eq!(exchange.take_reply(), None);
    exchange.receive(b"1\r\na\r\n0\r\n\r\n");
    reads(
        &mut exchange,
        b"POST /c HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na",
    );

    let at_once = chunked("Expect: 100-continue\r\n") + "1\r\na\r\n0\r\n\r\n";
    let mut exchange = given(at_once.as_bytes());
    assert_eq!(exchange.take_reply(), None, "the client didn't wait");
    reads(
        &mut exchange,
        b"POST /c HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na",
    );
}

#[test]
fn a_client_that_was_never_told_to_continue_may_send_anything() {
    let request = b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    let mut exchange = given(request);
    exchange.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    is_over(&mut exchange);

    let mut exchange = given(request);
    exchange
        .send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    exchange.receive(&[b"hello", GET].concat());
    reads(&mut exchange, GET);
}

#[test]
fn an_accepted_upgrade_makes_it_raw() {
    let mut exchange = given(&[UPGRADE, b"\x81\x80behind"].concat());
    reads(&mut exchange, UPGRADE);
    assert_eq!(exchange.readable(), 0, "what follows depends on the answer");
    exchange.send(SWITCHED);
    assert!(exchange.is_raw() && !exchange.in_flight() && !exchange.must_close());
    reads(&mut exchange, b"\x81\x80behind");
    exchange.receive(b"\n\0(");
    exchange.send(b"anything");
    assert_eq!(exchange.piece(), b"\n\0(");
    reads(&mut exchange, b"\n\0(");
    assert_eq!(exchange.buffered(), 0);
    assert!(!exchange.is_idle(), "a new exchange would read HTTP");
    exchange.finish_input();
    assert!(
        exchange.at_end() && !exchange.must_close(),
        "the server may still send"
    );
}

#[test]
fn an_upgrade_that_was_not_read_is_still_before_the_frames() {
    let mut exchange = given(&[UPGRADE, b"frames"].concat());
    exchange.send(SWITCHED);
    reads(&mut exchange, &[UPGRADE, b"frames"].concat());
}

#[test]
fn a_declined_upgrade_stays_http() {
    let mut exchange = given(&[UPGRADE, GET].concat());
    reads(&mut exchange, UPGRADE);
    exchange.send(OK);
    reads(&mut exchange, GET);
    assert!(!exchange.is_raw());
}

#[test]
fn an_upgrade_that_also_closes_keeps_what_follows() {
    let request = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close, upgrade\r\nUpgrade: x\r\n\r\n";
    let mut exchange = given(&[&request[..], b"frames"].concat());
    reads(&mut exchange, request);
    exchange.send(SWITCHED);
    reads(&mut exchange, b"frames");
}

#[test]
fn a_refusal_waits_for_the_answers_before_it() {
    let mut exchange = given(&[GET, b"GET / HTTP/1.1\nHost: a\n\n"].concat());
    assert_eq!(exchange.refusal(), None);
    reads(&mut exchange, GET);
    assert_eq!(exchange.take_reply(), None);
    exchange.send(&OK[..10]);
    assert_eq!(exchange.take_reply(), None);
    exchange.send(&OK[10..]);
    is_refused(&mut exchange, "bare_lf");
}

#[test]
fn each_kind_of_refusal_ends_it() {
    let limit = format!("GET / HTTP/1.1\r\nA: {}", "x".repeat(500));
    let fields = format!("GET / HTTP/1.1\r\n{}", "A: b\r\n".repeat(21));
    let chunk = chunked("") + "1\r\na\r\nx";
    let rows: [(&[u8], &str); 6] = [
        (b"(", "bad_method"),
        (b"\n", "bare_lf"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "http2_preface"),
        (limit.as_bytes(), "head_too_large"),
        (fields.as_bytes(), "too_many_headers"),
        (chunk.as_bytes(), "bad_chunk_size"),
    ];
    for (input, name) in rows {
        is_refused(&mut given(input), name);
    }
}

#[test]
fn the_last_answer_ends_it() {
    let http10 = b"GET / HTTP/1.0\r\n\r\n";
    let close = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    for request in [&http10[..], close] {
        let mut exchange = given(&[request, GET].concat());
        reads(&mut exchange, request);
        assert_eq!(exchange.buffered(), 0, "nothing can follow");
        assert!(!exchange.must_close() && !exchange.at_end());
        exchange.send(OK);
        is_over(&mut exchange);
    }
    let mut exchange = given(&[GET, GET].concat());
    exchange.send(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    is_over(&mut exchange);
}

#[test]
fn after_an_answer_until_close_nothing_is_handed_over() {
    let mut exchange = given(&[GET, GET].concat());
    reads(&mut exchange, GET);
    exchange.send(b"HTTP/1.1 200 OK\r\n\r\nand so on");
    exchange.send(b"until it closes");
    assert_eq!((exchange.readable(), exchange.buffered()), (0, 0));
    assert!(!exchange.must_close(), "the server closes");
    assert!(
        exchange.at_end(),
        "a reader that comes back thinks that it has answered"
    );
    exchange.receive(GET);
    assert_eq!((exchange.readable(), exchange.buffered()), (0, 0));
}

#[test]
fn a_body_still_flows_while_an_answer_until_close_does() {
    let mut exchange = given(post(200).as_bytes());
    reads(&mut exchange, post(200).as_bytes());
    exchange.send(b"HTTP/1.1 200 OK\r\n\r\n");
    exchange.receive(&[b'x'; 200]);
    assert!(!exchange.at_end());
    reads(&mut exchange, &[b'x'; 200]);
    assert!(exchange.at_end());
}

#[test]
fn an_answer_to_nothing_ends_it() {
    let mut exchange = exchange();
    exchange.send(b"HTTP/1.1 408 Request Timeout\r\n\r\n");
    is_over(&mut exchange);

    let mut exchange = given(&[GET, GET].concat());
    exchange.send(&[OK, OK].concat());
    is_over(&mut exchange);

    let mut exchange = given(b"GET / HT");
    exchange.send(OK);
    is_over(&mut exchange);
}

#[test]
fn the_end_of_input() {
    let mut exchange = exchange();
    exchange.finish_input();
    is_over(&mut exchange);

    for input in [&GET[..5], post(5).as_bytes(), chunked("").as_bytes()] {
        let mut exchange = given(input);
        exchange.finish_input();
        is_refused(&mut exchange, "incomplete");
    }

    let mut exchange = given(&[GET, GET].concat());
    exchange.finish_input();
    reads(&mut exchange, GET);
    assert!(!exchange.at_end(), "another request is there");
    exchange.send(OK);
    reads(&mut exchange, GET);
    assert!(
        exchange.at_end() && !exchange.must_close(),
        "the answer is still to come"
    );
    exchange.send(OK);
    is_over(&mut exchange);

    let mut exchange = given(&[GET, &GET[..5]].concat());
    exchange.finish_input();
    exchange.send(OK);
    is_refused(&mut exchange, "incomplete");

    let mut exchange = given(&[post(200).as_bytes(), b"part"].concat());
    exchange.finish_input();
    assert!(!exchange.at_end());
    reads(&mut exchange, &[post(200).as_bytes(), b"part"].concat());
    assert!(exchange.at_end(), "the body ends early");
    exchange.send(OK);
    is_over(&mut exchange);
}

#[test]
fn empty_lines_between_requests_are_dropped() {
    let mut exchange = given(b"\r\n\r\n");
    assert!(exchange.is_idle());
    exchange.receive(b"\r");
    exchange.receive(b"\n");
    exchange.receive(GET);
    reads(&mut exchange, GET);
    exchange.receive(b"\r\n");
    exchange.send(OK);
    assert!(exchange.is_idle());
}

#[test]
fn a_small_rest_does_not_keep_a_large_allocation() {
    let many = GET.repeat(100);
    let mut exchange = given(&[&many[..], b"GET /"].concat());
    for _ in 0..100 {
        reads(&mut exchange, GET);
        exchange.send(OK);
    }
    assert_eq!(exchange.buffered(), 5);
    let inbox = exchange.inbox.as_ref().expect("five bytes are held");
    assert!(
        inbox.allocated() < 64,
        "{} bytes for five",
        inbox.allocated()
    );
}

#[test]
fn it_wants_input_while_the_reader_can_get_nothing() {
    assert!(exchange().wants_input());
    assert!(given(b"GET / HT").wants_input());
    assert!(given(post(5).as_bytes()).wants_input());
    assert!(given((chunked("") + "1\r\na").as_bytes()).wants_input());
    assert!(!given(GET).wants_input());
    let mut exchange = given(post(200).as_bytes());
    assert!(!exchange.wants_input(), "the head is readable");
    exchange.consume(usize::MAX);
    assert!(exchange.wants_input());
    exchange.send(OK);
    assert!(
        exchange.wants_input(),
        "the rest of the body is to be dropped"
    );
    exchange.send(OK);
    assert!(!exchange.wants_input(), "it's over");
}

#[test]
fn a_client_that_did_not_wait_needs_no_continue() {
    let mut exchange = given((chunked("Expect: 100-continue\r\n") + "5\r\nhel").as_bytes());
    assert_eq!(exchange.take_reply(), None);

    // Part of the body came, so all of it will: what follows it is clear.
    let request = b"PUT / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    let mut exchange = given(request);
    exchange.receive(b"hel");
    exchange.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
    exchange.receive(&[b"lo", GET].concat());
    reads(&mut exchange, GET);
}

#[test]
fn empty_lines_are_counted_for_each_request_anew() {
    let mut exchange = exchange();
    for _ in 0..3 {
        exchange.receive(&[&b"\r\n".repeat(8), GET].concat());
        reads(&mut exchange, GET);
        exchange.send(OK);
    }
    exchange.receive(&b"\r\n".repeat(9));
    is_refused(&mut exchange, "too_many_empty_lines");
}

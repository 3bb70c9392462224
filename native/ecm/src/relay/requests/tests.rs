//! Requests in all chunkings.

use megaphone_http::RequestKind;
use proptest::prelude::*;

use super::*;

fn client() -> SocketAddr {
    SocketAddr::from(([192, 0, 2, 7], 4711))
}

fn reader() -> RequestReader {
    RequestReader::new(Limits::default(), Origins::Peer(client()))
}

/// All that goes to ejabberd, and how it ended.
fn read(reader: &mut RequestReader, pieces: &[&[u8]]) -> (Vec<Outgoing>, Next) {
    let mut outgoing = Vec::new();
    for piece in pieces {
        reader.feed(piece);
        loop {
            match reader.next(&Routes::default()) {
                Next::Send(next) => outgoing.push(next),
                Next::Wait => break,
                Next::Routed(routed) => panic!("{routed:?} has no route"),
                refusal @ Next::Refuse(_) => return (outgoing, refusal),
            }
        }
    }
    (outgoing, Next::Wait)
}

fn text(outgoing: &[Outgoing]) -> Vec<String> {
    outgoing
        .iter()
        .map(|out| String::from_utf8_lossy(&out.bytes).into_owned())
        .collect()
}

const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n";
const POST: &[u8] = b"POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello";

#[test]
fn each_request_goes_out_whole_with_the_clients_address() {
    let (outgoing, _) = read(&mut reader(), &[&[GET, POST].concat()]);
    assert_eq!(
        text(&outgoing),
        [
            "GET /a HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n",
            "POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\
             X-Forwarded-For: 192.0.2.7\r\n\r\nhello",
        ]
    );
    let asked = Asked {
        kind: RequestKind::Other,
        keep_alive: true,
    };
    assert!(outgoing.iter().all(|out| out.asked == Some(asked)));
}

#[test]
fn what_a_client_claims_is_replaced_and_what_a_proxy_says_is_extended() {
    let request = b"GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 10.1.1.1\r\n\
        x-forwarded-for: 10.2.2.2\r\n\r\n";
    let (outgoing, _) = read(&mut reader(), &[request]);
    assert_eq!(
        text(&outgoing),
        ["GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n"]
    );
    let mut proxied = RequestReader::new(Limits::default(), Origins::ProxyInHeader(client()));
    let (outgoing, _) = read(&mut proxied, &[request]);
    assert_eq!(
        text(&outgoing),
        ["GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 10.1.1.1, 10.2.2.2, 192.0.2.7\r\n\r\n"]
    );
}

#[test]
fn a_chunked_body_goes_on_in_chunks() {
    let request = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
        5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\nTrailer: x\r\n\r\n";
    let (outgoing, _) = read(&mut reader(), &[request]);
    assert_eq!(
        text(&outgoing),
        [
            "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\
          X-Forwarded-For: 192.0.2.7\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"
        ]
    );
}

#[test]
fn a_large_body_goes_out_as_it_comes() {
    let mut reader = reader();
    let head = b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n";
    let (first, _) = read(&mut reader, &[head]);
    assert_eq!(first.len(), 1);
    assert!(first[0].asked.is_some() && reader.is_partly_sent());
    let (more, _) = read(&mut reader, &[&[b'a'; 60_000]]);
    assert_eq!(
        (more.len(), more[0].bytes.len(), more[0].asked),
        (1, 60_000, None)
    );
    assert_eq!(reader.position(), Position::InBody);
    let (last, _) = read(&mut reader, &[&[b'a'; 40_000]]);
    assert_eq!(
        (last.len(), last[0].bytes.len(), last[0].asked),
        (1, 40_000, None)
    );
    assert_eq!(reader.position(), Position::BetweenRequests);
}

#[test]
fn a_chunked_body_that_grows_large_goes_out_as_it_comes() {
    let mut reader = reader();
    let head = b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut chunk = b"7d00\r\n".to_vec();
    chunk.extend_from_slice(&[b'a'; 32_000]);
    chunk.extend_from_slice(b"\r\n");
    assert_eq!(read(&mut reader, &[head, &chunk, &chunk]).0, []);
    let (pieces, _) = read(&mut reader, &[&chunk, &chunk, b"0\r\n\r\n"]);
    assert!(pieces.len() >= 2, "{} pieces", pieces.len());
    assert_eq!(
        pieces.iter().filter(|piece| piece.asked.is_some()).count(),
        1
    );
    assert!(
        pieces
            .last()
            .is_some_and(|last| last.bytes.ends_with(b"0\r\n\r\n"))
    );
}

#[test]
fn a_client_that_waits_for_100_continue_has_its_head_sent() {
    let mut reader = reader();
    let head = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
    let (outgoing, _) = read(&mut reader, &[head]);
    assert_eq!(outgoing.len(), 1);
    let (outgoing, _) = read(&mut reader, &[b"hello"]);
    assert_eq!(text(&outgoing), ["hello"]);
}

#[test]
fn after_an_upgrade_bytes_wait_for_the_answer() {
    let request =
        b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let mut reader = reader();
    let (outgoing, _) = read(&mut reader, &[request, b"\x81\x00"]);
    assert_eq!(outgoing.len(), 1);
    assert_eq!(reader.position(), Position::Held);
    reader.switch_to_raw();
    let Next::Send(raw) = reader.next(&Routes::default()) else {
        panic!("the frame goes on")
    };
    assert_eq!(
        raw,
        Outgoing {
            bytes: Bytes::from_static(b"\x81\x00"),
            asked: None,
            client: client(),
            scheme: Scheme::Plain,
        }
    );
    assert_eq!(reader.position(), Position::Raw);
}

#[test]
fn an_upgrade_that_was_declined_leaves_http() {
    let request =
        b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    let mut reader = reader();
    assert_eq!(read(&mut reader, &[request, GET]).0.len(), 1);
    reader.resume_http();
    assert!(matches!(
        reader.next(&Routes::default()),
        Next::Send(Outgoing { asked: Some(_), .. })
    ));
}

#[test]
fn a_refusal_comes_after_the_requests_before_it() {
    let (outgoing, next) = read(
        &mut reader(),
        &[&[GET, b"GET / HTTP/1.1\r\nBad Header: x\r\n\r\n"].concat()],
    );
    assert_eq!(outgoing.len(), 1);
    assert!(matches!(next, Next::Refuse(_)), "{next:?}");
}

#[test]
fn a_request_with_a_route_stops_the_reader_behind_its_head() {
    let routes = Routes::of(&crate::config::Config::default());
    let mut reader = reader();
    reader.feed(&[GET, b"GET /ws HTTP/1.1\r\nHost: x\r\n\r\n", POST].concat());
    assert!(matches!(reader.next(&routes), Next::Send(_)));
    let Next::Routed(routed) = reader.next(&routes) else {
        panic!("a request for /ws has a route");
    };
    assert_eq!(
        (routed.route, routed.head.target()),
        (Route::WebSocket, "/ws")
    );
    // Another task takes it, and gives it back: what has no route any more goes on from there.
    let (origins, decoder, input) = reader.into_parts();
    let (mut reader, again) = RequestReader::resume(origins, decoder, input, routed.head, None);
    assert_eq!(again, None);
    let (outgoing, next) = read(&mut reader, &[b""]);
    assert_eq!(next, Next::Wait);
    assert_eq!(
        text(&outgoing),
        [
            "GET /ws HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n",
            "POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\
             X-Forwarded-For: 192.0.2.7\r\n\r\nhello",
        ]
    );
}

#[test]
fn an_idle_reader_holds_no_buffer() {
    let mut reader = reader();
    read(&mut reader, &[&[GET, POST].concat()]);
    assert_eq!(
        (reader.input.allocated(), reader.outgoing.capacity()),
        (0, 0)
    );
}

proptest! {
    #[test]
    fn how_the_input_is_cut_changes_no_byte_that_goes_out(sizes in proptest::collection::vec(1usize..200, 1..20)) {
        let chunked = b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
        let input = [GET, POST, chunked, POST, GET].concat();
        let mut pieces = Vec::new();
        let mut rest = &input[..];
        for size in sizes.iter().cycle() {
            let (piece, left) = rest.split_at((*size).min(rest.len()));
            pieces.push(piece);
            rest = left;
            if rest.is_empty() {
                break;
            }
        }
        let (whole, _) = read(&mut reader(), &[&input]);
        let (cut, _) = read(&mut reader(), &pieces);
        // Only where a chunk ends may differ.
        prop_assert_eq!(whole.len(), cut.len());
        for (n, (whole, cut)) in whole.iter().zip(&cut).enumerate() {
            prop_assert_eq!(whole.asked, cut.asked);
            if n != 2 {
                prop_assert_eq!(&whole.bytes, &cut.bytes);
            }
        }
    }
}

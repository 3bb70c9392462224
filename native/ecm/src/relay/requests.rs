//! A client's requests, made ready for ejabberd. Sans-IO.

use std::net::SocketAddr;

use bytes::{BufMut as _, Bytes, BytesMut};
use megaphone_http::{
    BodyLength, Event, Limits, RequestDecoder, RequestError, RequestHead, RequestKind,
};

use crate::http::deadlines::Position;
use crate::http::{Origins, Route, Routes, Scheme, Unread, host_name};

/// A body up to this size goes to ejabberd in one piece with its head; a larger one in pieces of
/// about this size, as they come.
pub const COLLECTED: usize = 64 * 1024;

/// Where a request's answer has to be told apart from the next one's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// What the answer's framing depends on.
    pub kind: RequestKind,
    /// Whether the client wants to ask more on this connection.
    pub keep_alive: bool,
}

/// Bytes for ejabberd.
#[derive(Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// The bytes.
    pub bytes: Bytes,
    /// The request that begins with them; `None` for more of one that has begun.
    pub asked: Option<Asked>,
    /// Whose they are.
    pub client: SocketAddr,
    /// How a trusted proxy says that the client came.
    pub scheme: Scheme,
}

impl Outgoing {
    /// The host that a request asks for, without its port.
    pub fn host(&self) -> Option<String> {
        self.asked?;
        // It was written here, so each line is a field until the empty one.
        let mut lines = self.bytes.split(|byte| *byte == b'\n').skip(1);
        let value = lines
            .by_ref()
            .map(<[u8]>::trim_ascii)
            .take_while(|line| !line.is_empty())
            .find_map(|line| {
                let (name, value) = line.split_at_checked(line.iter().position(|c| *c == b':')?)?;
                name.eq_ignore_ascii_case(b"host").then_some(&value[1..])
            })?;
        host_name(value)
    }
}

/// What follows from the input so far.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// These bytes go to ejabberd.
    Send(Outgoing),
    /// A request that does not go to ejabberd. Its end was not read.
    Routed(Box<Routed>),
    /// More input is needed, or an answer.
    Wait,
    /// The client's bytes can't be read, or are too many. Nothing after them will be read.
    Refuse(RequestError),
}

/// The head of a request that does not go to ejabberd, and what takes it.
#[derive(Debug, PartialEq, Eq)]
pub struct Routed {
    /// What takes it.
    pub route: Route,
    /// The head.
    pub head: RequestHead,
}

/// Reads requests in any chunking and writes them again for ejabberd.
#[derive(Debug)]
pub struct RequestReader {
    speaks: Speaks,
    decoder: RequestDecoder,
    input: Unread,
    origins: Origins,
    /// Whose the last head was.
    client: SocketAddr,
    /// How a trusted proxy says that it came.
    scheme: Scheme,
    /// What was written and is not yet given out.
    outgoing: BytesMut,
    /// The request whose head was read and whose end was not.
    current: Option<Current>,
    requests: u64,
}

/// What the first byte belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speaks {
    Http,
    Other,
}

#[derive(Debug)]
struct Current {
    /// Taken with the first bytes that are given out.
    asked: Option<Asked>,
    framing: Framing,
    /// Whether its bytes are given out as they come.
    pace: Pace,
    body: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Length,
    Chunks,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pace {
    Collect,
    Stream,
}

impl RequestReader {
    /// A reader for a client's first byte.
    pub fn new(limits: Limits, origins: Origins) -> Self {
        Self::speaking(Speaks::Http, limits, origins)
    }

    /// For a client that speaks something else, which is passed on as it is.
    pub fn raw(origins: Origins) -> Self {
        Self::speaking(Speaks::Other, Limits::default(), origins)
    }

    /// A reader that goes on after a head, and that head if it has a route.
    pub fn resume(
        origins: Origins,
        decoder: RequestDecoder,
        input: Unread,
        head: RequestHead,
        route: Option<Route>,
    ) -> (Self, Option<Box<Routed>>) {
        let mut reader = Self {
            decoder,
            input,
            ..Self::speaking(Speaks::Http, Limits::default(), origins)
        };
        let routed = reader.take(head, route);
        (reader, routed)
    }

    fn speaking(speaks: Speaks, limits: Limits, origins: Origins) -> Self {
        Self {
            speaks,
            decoder: RequestDecoder::new(limits),
            input: Unread::default(),
            client: origins.peer(),
            scheme: Scheme::Plain,
            origins,
            outgoing: BytesMut::new(),
            current: None,
            requests: 0,
        }
    }

    /// Who connected.
    pub const fn peer(&self) -> SocketAddr {
        self.origins.peer()
    }

    /// Takes bytes from the client. [`next`](Self::next) has to be asked until it waits before there
    /// is more.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.input.feed(bytes);
    }

    /// Goes on with the input. The requests that `routes` have are not for ejabberd.
    pub fn next(&mut self, routes: &Routes) -> Next {
        if self.speaks == Speaks::Other {
            return self.next_raw();
        }
        loop {
            match self.decoder.decode(self.input.bytes()) {
                Err(error) => return Next::Refuse(error),
                Ok(Some(Event::Head(head))) => {
                    let route = routes.find(head.target());
                    if let Some(routed) = self.take(head, route) {
                        return Next::Routed(routed);
                    }
                }
                Ok(Some(event)) => {
                    if let Some(outgoing) = self.handle(event) {
                        return Next::Send(outgoing);
                    }
                }
                Ok(None) => {
                    // An idle client keeps no buffer.
                    self.input.shrink();
                    let streams = self
                        .current
                        .as_ref()
                        .is_some_and(|request| request.pace == Pace::Stream);
                    return if streams && !self.outgoing.is_empty() {
                        Next::Send(self.give_out())
                    } else {
                        Next::Wait
                    };
                }
            }
        }
    }

    /// What the client's next bytes will be, once [`next`](Self::next) waits.
    pub fn position(&self) -> Position {
        if self.current.is_some() {
            Position::InBody
        } else if self.speaks == Speaks::Other {
            match self.requests {
                0 => Position::BetweenRequests,
                _ => Position::Raw,
            }
        } else if self.decoder.is_held() {
            Position::Held
        } else if !self.decoder.is_between_requests() {
            Position::Raw
        } else if self.input.is_empty() {
            Position::BetweenRequests
        } else {
            Position::InHead
        }
    }

    /// How many bytes of input wait for an answer that says what they are.
    pub fn unread(&self) -> usize {
        match self.position() {
            Position::Held => self.input.len(),
            _ => 0,
        }
    }

    /// Whether a part of a request was given out, and its end was not.
    pub fn is_partly_sent(&self) -> bool {
        self.current
            .as_ref()
            .is_some_and(|request| request.asked.is_none())
    }

    /// How many heads were read.
    pub const fn requests(&self) -> u64 {
        self.requests
    }

    /// How many bytes have come of the body that is being read.
    pub fn body_bytes(&self) -> u64 {
        self.current.as_ref().map_or(0, |request| request.body)
    }

    /// How many bytes are held here, whatever they are.
    pub fn held(&self) -> usize {
        self.input.allocated() + self.outgoing.capacity()
    }

    /// The answer did not switch protocols: another request may follow.
    pub fn resume_http(&mut self) {
        self.decoder.resume_http();
    }

    /// The answer switched protocols: what follows is passed on as it is.
    pub fn switch_to_raw(&mut self) {
        self.decoder.switch_to_raw();
    }

    /// Whose a request is.
    pub fn client(&self, head: &RequestHead) -> SocketAddr {
        self.origins.client(head)
    }

    /// How the client of a request reaches this program, as far as a trusted proxy says so.
    pub fn scheme(&self, head: &RequestHead) -> Scheme {
        self.origins.scheme(head)
    }

    /// A request that has a route and no body was answered here: another one may follow.
    pub fn skip_end(&mut self) {
        if let Ok(Some(Event::End)) = self.decoder.decode(self.input.bytes()) {
            self.decoder.resume_http();
        }
    }

    /// What was read and not decoded, and what decodes it: for another task.
    pub fn into_parts(self) -> (Origins, RequestDecoder, Unread) {
        (self.origins, self.decoder, self.input)
    }

    /// Starts a request, unless it has a route.
    fn take(&mut self, mut head: RequestHead, route: Option<Route>) -> Option<Box<Routed>> {
        let Some(route) = route else {
            self.start(&head);
            return None;
        };
        self.requests += 1;
        // It may have to wait.
        head.detach();
        Some(Box::new(Routed { route, head }))
    }

    fn handle(&mut self, event: Event) -> Option<Outgoing> {
        match event {
            Event::Head(_) => None,
            Event::Body(bytes) => {
                self.body(&bytes);
                (self.outgoing.len() >= COLLECTED && self.streams()).then(|| self.give_out())
            }
            Event::End => {
                let chunked = self
                    .current
                    .as_ref()
                    .is_some_and(|c| c.framing == Framing::Chunks);
                if chunked {
                    self.outgoing.put_slice(b"0\r\n\r\n");
                }
                let last = (!self.outgoing.is_empty()).then(|| self.give_out());
                self.current = None;
                last
            }
            Event::Raw(bytes) => Some(self.raw_bytes(bytes)),
        }
    }

    fn next_raw(&mut self) -> Next {
        if self.input.is_empty() {
            return Next::Wait;
        }
        self.requests = 1;
        let bytes = self.input.take().freeze();
        Next::Send(self.raw_bytes(bytes))
    }

    fn raw_bytes(&self, bytes: Bytes) -> Outgoing {
        Outgoing {
            bytes,
            asked: None,
            client: self.client,
            scheme: self.scheme,
        }
    }

    fn start(&mut self, head: &RequestHead) {
        self.client = self.origins.client(head);
        self.scheme = self.origins.scheme(head);
        let edit = self.origins.edit(self.client);
        head.write(&edit, &mut self.outgoing);
        let large = matches!(head.body(), BodyLength::Length(length) if length > COLLECTED as u64);
        self.requests += 1;
        self.current = Some(Current {
            asked: Some(Asked {
                kind: head.kind(),
                keep_alive: head.keep_alive(),
            }),
            framing: match head.body() {
                BodyLength::Chunked => Framing::Chunks,
                BodyLength::None | BodyLength::Length(_) => Framing::Length,
            },
            // A client that waits for 100 Continue sends no body before ejabberd has the head.
            pace: if large || head.expects_continue() {
                Pace::Stream
            } else {
                Pace::Collect
            },
            body: 0,
        });
    }

    fn body(&mut self, bytes: &[u8]) {
        let Some(current) = &mut self.current else {
            return;
        };
        current.body += bytes.len() as u64;
        if current.framing == Framing::Chunks {
            self.outgoing
                .put_slice(format!("{:x}\r\n", bytes.len()).as_bytes());
            self.outgoing.put_slice(bytes);
            self.outgoing.put_slice(b"\r\n");
        } else {
            self.outgoing.put_slice(bytes);
        }
    }

    /// Whether the current request's bytes are given out as they come. One that turns out to be
    /// larger than what is collected is, from then on.
    fn streams(&mut self) -> bool {
        match &mut self.current {
            None => false,
            Some(current) => {
                if current.body > COLLECTED as u64 {
                    current.pace = Pace::Stream;
                }
                current.pace == Pace::Stream
            }
        }
    }

    fn give_out(&mut self) -> Outgoing {
        Outgoing {
            bytes: std::mem::take(&mut self.outgoing).freeze(),
            asked: self
                .current
                .as_mut()
                .and_then(|current| current.asked.take()),
            client: self.client,
            scheme: self.scheme,
        }
    }
}

#[cfg(test)]
mod tests {
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
        let head =
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
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
}

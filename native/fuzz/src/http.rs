//! HTTP as clients and servers say it, and nearly so.

use crate::Input;

/// Parts of requests.
const REQUEST: &[&str] = &[
    "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "POST /bosh HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n",
    "PUT /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n",
    "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "HEAD / HTTP/1.0\r\n\r\n",
    "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n",
    "GET http://a:80/x?y HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /",
    " HTTP/1.1\r\n",
    " HTTP/1.0\r\n",
    "Host: a\r\n",
    "Host: [::1]:80\r\n",
    "Content-Length: 3\r\n",
    "Content-Length: 70000\r\n",
    "Content-Length: 3, 3\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Connection: close\r\n",
    "Connection: keep-alive, upgrade\r\n",
    "Upgrade: websocket\r\n",
    "Expect: 100-continue\r\n",
    "X: ",
    "5;e=f\r\nhello\r\n",
    "ffff\r\n",
    "0\r\n\r\n",
    "0\r\nTrailer: x\r\n\r\n",
    "hello",
    "\r\n",
    "\n",
    "\r\n\r\n",
];

/// Parts of answers.
const ANSWER: &[&str] = &[
    "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.1 204 No Content\r\n\r\n",
    "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    "HTTP/1.1 100 Continue\r\n\r\n",
    "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "HTTP/1.0 200 OK\r\n\r\n",
    "HTTP/1.1 200 OK\r\n",
    "Content-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Connection: close\r\n",
    "5\r\nhello\r\n",
    "0\r\n\r\n",
    "hello",
    "\r\n",
];

/// A request, part of one, or any bytes.
pub fn request(input: &mut Input<'_>) -> Vec<u8> {
    text(input, REQUEST)
}

/// An answer, part of one, or any bytes.
pub fn answer(input: &mut Input<'_>) -> Vec<u8> {
    text(input, ANSWER)
}

/// One to four parts of these, or any bytes.
pub fn text(input: &mut Input<'_>, parts: &[&str]) -> Vec<u8> {
    let choice = input.byte();
    if choice >= 0xf0 {
        return input.bytes(usize::from(choice & 0x0f) + 1).to_vec();
    }
    let count = usize::from(choice >> 6) + 1;
    let mut text = Vec::new();
    for _ in 0..count {
        text.extend_from_slice(input.pick(parts).as_bytes());
    }
    text
}

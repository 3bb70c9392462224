//! What a BOSH request costs: a head of 350 bytes and a body of 300, as a browser sends them.

use std::hint::black_box;
use std::sync::Arc;

use bytes::BytesMut;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use megaphone_http::{Exchange, Limits, RequestDecoder};

const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 56\r\n\
    Content-Type: text/xml; charset=utf-8\r\nAccess-Control-Allow-Origin: *\r\n\
    Access-Control-Allow-Headers: Content-Type\r\n\r\n\
    <body xmlns='http://jabber.org/protocol/httpbind' x=''/>";

fn bosh_post() -> Vec<u8> {
    let mut head = String::from(
        "POST /bosh HTTP/1.1\r\n\
         Host: chat.example.org:5280\r\n\
         User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0\r\n\
         Accept: */*\r\n\
         Accept-Language: en-US,en;q=0.5\r\n\
         Accept-Encoding: gzip, deflate\r\n\
         Content-Type: text/xml; charset=utf-8\r\n\
         Content-Length: 300\r\n\
         Origin: http://chat.example.org\r\n\
         Connection: keep-alive\r\n",
    );
    let padding = 350 - head.len() - "Cookie: \r\n\r\n".len();
    head.push_str(&format!("Cookie: {}\r\n\r\n", "c".repeat(padding)));
    assert_eq!(head.len(), 350);
    let mut request = head.into_bytes();
    request.resize(650, b'x');
    request
}

fn decode(c: &mut Criterion) {
    let request = bosh_post();
    let mut group = c.benchmark_group("bosh_post");
    group.throughput(Throughput::Bytes(request.len() as u64));

    group.bench_function("decoder, whole", |b| {
        let mut decoder = RequestDecoder::new(Limits::default());
        b.iter(|| {
            let mut input = BytesMut::from(&request[..]);
            while let Ok(Some(event)) = decoder.decode(&mut input) {
                black_box(event);
            }
        });
    });

    group.bench_function("decoder, head byte by byte", |b| {
        let mut decoder = RequestDecoder::new(Limits::default());
        b.iter(|| {
            let mut input = BytesMut::with_capacity(request.len());
            for byte in &request[..350] {
                input.extend_from_slice(&[*byte]);
                while let Ok(Some(event)) = decoder.decode(&mut input) {
                    black_box(event);
                }
            }
            input.extend_from_slice(&request[350..]);
            while let Ok(Some(event)) = decoder.decode(&mut input) {
                black_box(event);
            }
        });
    });

    group.bench_function("exchange, request and answer", |b| {
        let mut exchange = Exchange::new(Arc::new(Limits::default()));
        b.iter(|| {
            exchange.receive(&request);
            for _part in ["head", "body"] {
                let piece = black_box(exchange.piece()).len();
                exchange.consume(piece);
            }
            exchange.send(ANSWER);
            assert!(exchange.is_idle());
        });
    });
    group.finish();
}

criterion_group!(benches, decode);
criterion_main!(benches);

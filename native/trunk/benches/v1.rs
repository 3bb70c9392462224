//! Frames a second in version 1: decoding and encoding content of 64 B, 1 KiB and 16 KiB, in
//! batches of 256 KiB, each frame for another one of 1,000 connections.

#![forbid(unsafe_code)]
#![allow(missing_docs, clippy::expect_used)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use megaphone_trunk::v1::{ConnectionId, Decoder, HEADER_LEN, MaxFrameSize, put_frame};

const BATCH: usize = 256 * 1024;
const FRAME_SIZES: [usize; 3] = [64, 1024, 16 * 1024];

fn connection_ids() -> Vec<ConnectionId> {
    let ids = (0..1_000).map(|n| ConnectionId::try_from(format!("{n:020}").as_bytes()));
    ids.collect::<Result<_, _>>()
        .expect("twenty digits are an id")
}

/// How many frames of `size` bytes, header included, make a batch.
fn frames_in_batch(size: usize) -> usize {
    BATCH / size
}

fn write_batch(out: &mut Vec<u8>, ids: &[ConnectionId], content: &[u8]) {
    for id in ids
        .iter()
        .cycle()
        .take(frames_in_batch(content.len() + HEADER_LEN))
    {
        put_frame(out, id, black_box(content)).expect("content that fits a frame");
    }
}

fn decode(c: &mut Criterion) {
    let mut group = c.benchmark_group("v1/decode");
    let ids = connection_ids();
    for size in FRAME_SIZES {
        let mut trunk = Vec::new();
        write_batch(&mut trunk, &ids, &vec![b'x'; size - HEADER_LEN]);
        group.throughput(Throughput::Elements(frames_in_batch(size) as u64));
        group.bench_with_input(BenchmarkId::from_parameter(size), &trunk, |b, trunk| {
            let mut decoder = Decoder::new(MaxFrameSize::DEFAULT);
            b.iter(|| {
                for event in decoder.decode(black_box(trunk)) {
                    black_box(event).expect("only whole frames");
                }
            });
        });
    }
    group.finish();
}

fn encode(c: &mut Criterion) {
    let mut group = c.benchmark_group("v1/encode");
    let ids = connection_ids();
    for size in FRAME_SIZES {
        let content = vec![b'x'; size - HEADER_LEN];
        let mut out = Vec::with_capacity(BATCH);
        group.throughput(Throughput::Elements(frames_in_batch(size) as u64));
        group.bench_with_input(BenchmarkId::from_parameter(size), &content, |b, content| {
            b.iter(|| {
                out.clear();
                write_batch(&mut out, &ids, content);
                black_box(&out);
            });
        });
    }
    group.finish();
}

criterion_group!(benches, decode, encode);
criterion_main!(benches);

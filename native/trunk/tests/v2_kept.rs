//! Output that owners keep until it is their turn, and what they leave as they go.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

mod v2_support;

use std::collections::VecDeque;

use megaphone_trunk::v2::{
    Config, Flags, FrameType, Header, INITIAL_WINDOW, MAX_DATA, Remains, Session, StreamId,
};
use v2_support::{Seen, headers, receive, take, take_frames};

const WINDOW: usize = INITIAL_WINDOW as usize;

fn pair() -> (Session, Session, StreamId) {
    let config = Config {
        owners_keep_output: true,
        ..Config::default()
    };
    let mut ecm = Session::client(Config::default(), 0);
    let mut ejabberd = Session::server(config, 0);
    let id = ecm.open(10, b"first").unwrap();
    receive(&mut ejabberd, &take(&mut ecm));
    (ecm, ejabberd, id)
}

fn kept(len: usize) -> VecDeque<u8> {
    vec![b'x'; len].into()
}

fn data(flags: Flags, length: usize) -> Header {
    Header::data(StreamId::new(1), flags, length as u32)
}

#[test]
fn a_frame_is_as_long_as_a_frame_and_the_window_may_be() {
    let (mut ecm, mut ejabberd, id) = pair();
    let mut out = Vec::new();
    let mut sent = 0;
    loop {
        let len = ejabberd.frame_kept(id, &kept(20_000), 1, &mut out).unwrap();
        assert!(len <= MAX_DATA);
        sent += len;
        if len == 0 {
            break;
        }
    }
    assert_eq!(sent, WINDOW);
    let first = &take_frames(&mut out.clone())[0].header;
    assert_eq!(*first, data(Flags::ACK, MAX_DATA));
    let seen = receive(&mut ecm, &out);
    assert_eq!(seen.len(), WINDOW / MAX_DATA);
    // Its acknowledgement has been said.
    assert_eq!(headers(&mut ejabberd), []);
}

#[test]
fn an_owner_hears_how_much_more_it_may_send_and_nothing_once_it_has_gone() {
    let (mut ecm, mut ejabberd, id) = pair();
    let mut out = Vec::new();
    for _ in 0..10 {
        ejabberd
            .frame_kept(id, &kept(MAX_DATA), 1, &mut out)
            .unwrap();
    }
    receive(&mut ecm, &out);
    ecm.consumed(id, 10 * MAX_DATA).unwrap();
    let update = take(&mut ecm);
    let seen = receive(&mut ejabberd, &update);
    assert_eq!(seen, [Seen::Window(1, 10 * MAX_DATA as u32)]);
    let _ = ejabberd.release(id).unwrap();
    let more = Header::window_update(id, Flags::NONE, 1 << 20).encode();
    assert_eq!(receive(&mut ejabberd, &more), []);
}

#[test]
fn what_is_left_goes_out_in_turns_with_the_end_behind_it() {
    let (mut ecm, mut ejabberd, id) = pair();
    let mut out = Vec::new();
    ejabberd.frame_kept(id, &kept(7), 1, &mut out).unwrap();
    let left = WINDOW + 1000;
    ejabberd.leave(id, kept(left)).unwrap();
    assert_eq!(ejabberd.release(id), Ok(Remains::Stream));
    assert_eq!(
        (ejabberd.total_queued(), ejabberd.total_shut()),
        (left, 1007)
    );
    out.extend(take(&mut ejabberd));
    receive(&mut ecm, &out);
    ecm.consumed(id, WINDOW).unwrap();
    let update = take(&mut ecm);
    assert_eq!(receive(&mut ejabberd, &update), []);
    assert_eq!(headers(&mut ejabberd), [data(Flags::FIN, 1007)]);
    assert_eq!(ejabberd.total_queued(), 0);
}

#[test]
fn nothing_is_framed_of_a_stream_that_is_gone_or_finished() {
    let (mut ecm, mut ejabberd, id) = pair();
    let _ = ejabberd.finish(id).unwrap();
    let mut out = Vec::new();
    assert!(ejabberd.frame_kept(id, &kept(1), 1, &mut out).is_err());
    ecm.reset(id).unwrap();
    receive(&mut ejabberd, &take(&mut ecm));
    assert!(ejabberd.frame_kept(id, &kept(1), 1, &mut out).is_err());
    assert!(ejabberd.leave(id, kept(1)).is_err());
    assert_eq!((out.len(), ejabberd.total_queued()), (0, 0));
}

#[test]
fn a_window_that_comes_with_a_stream_is_told_behind_it() {
    let config = Config {
        owners_keep_output: true,
        ..Config::default()
    };
    let mut ejabberd = Session::server(config, 0);
    let syn = Header::window_update(StreamId::new(1), Flags::SYN, 5000);
    assert_eq!(syn.kind, FrameType::WindowUpdate);
    let seen = receive(&mut ejabberd, &syn.encode());
    assert_eq!(seen, [Seen::Opened(1), Seen::Window(1, 5000)]);
}

/// A peer that returns the window of each write by itself is as honest where they come in one frame.
#[test]
fn writes_that_share_a_frame_earn_as_many_small_window_updates_as_if_they_did_not() {
    const WRITES: u32 = 100;
    let mut ecm = Session::client(Config::default(), 0);
    let mut config = Config {
        owners_keep_output: true,
        ..Config::default()
    };
    config.ceilings.idle_updates.most = 2 * WRITES;
    config.ceilings.idle_updates.per_second = 0;
    let mut ejabberd = Session::server(config, 0);
    let id = ecm.open(10, b"first").unwrap();
    receive(&mut ejabberd, &take(&mut ecm));
    let update = Header::window_update(id, Flags::NONE, 10).encode();
    let updates = update.repeat(2 * WRITES as usize);
    for _ in 0..5 {
        let mut out = Vec::new();
        let kept = kept(20 * WRITES as usize);
        ejabberd.frame_kept(id, &kept, WRITES, &mut out).unwrap();
        receive(&mut ejabberd, &updates);
    }
    let error = ejabberd.receive(&updates.repeat(2), &mut v2_support::Log::default());
    assert_eq!(error.unwrap_err().fault.name(), "idle_updates");
}

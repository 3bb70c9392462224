//! Output: frames, turns, watermarks, and the writer's wakes.

use super::lifecycle::data_of;
use super::*;

const FRAME: usize = 16 << 10;
const CONTENT: usize = FRAME - 32;
/// More than the trunk frames ahead of its writer.
const A_LOT: usize = 600 << 10;

#[test]
fn small_sends_leave_in_one_batch_in_their_order() {
    let mut world = World::new(raw());
    let [a, b] = [1, 2].map(|n| world.open(n, OWNER, b"a"));
    world.writer_wakes();
    for (handle, data) in [(a, b"1"), (b, b"2"), (a, b"3")] {
        assert_eq!(world.send(handle, OWNER, data), Send::Done);
    }
    assert_eq!(world.writer_wakes(), 1, "once, until it looks");
    let heard = world.take(1 << 20);
    let expected = [(1, b"1"), (2, b"2"), (1, b"3")];
    assert_eq!(
        heard,
        expected.map(|(n, data)| Heard::Data(n, data.to_vec()))
    );
    assert_eq!(world.take(1 << 20), []);
    world.send(a, OWNER, b"4");
    assert_eq!(world.writer_wakes(), 1, "it has looked");
}

#[test]
fn a_send_of_nothing_sends_nothing() {
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, b"a");
    assert_eq!(world.send(handle, OWNER, b""), Send::Done);
    assert_eq!(world.take_all(), [], "a frame without content would close");
    assert!(world.trunk.is_open(handle));
}

#[test]
fn frames_are_of_16_kib_at_most() {
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, b"a");
    let sent: Vec<u8> = (0..A_LOT).map(|n| n as u8).collect();
    assert_eq!(world.send(handle, OWNER, &sent), Send::Done);
    let heard: Vec<Vec<u8>> = world.take_all().into_iter().map(data_of(1)).collect();
    assert!(heard.iter().all(|data| data.len() <= CONTENT));
    assert_eq!(heard.concat(), sent);
    let status = world.trunk.status();
    assert_eq!(status.frames_out, heard.len() as u64);
    assert_eq!(status.bytes_out as usize, sent.len() + 32 * heard.len());
}

#[test]
fn a_send_waits_above_the_high_mark_until_below_the_low_one() {
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, b"a");
    // The outbox takes 256 KiB ahead; what is left stays with the connection.
    world.send(handle, OWNER, &[0; A_LOT]);
    let number = send_wait(world.send(handle, OWNER, b"more"));
    let pending = |world: &World| world.trunk.statistics(handle).unwrap().pending;
    while pending(&world) >= 32 << 10 {
        assert_eq!(world.wakes(), [], "{} bytes wait", pending(&world));
        world.take(1);
    }
    assert_eq!(world.wakes(), [(OWNER, number)]);
    assert_eq!(world.send(handle, OWNER, b"more"), Send::Done);
}

#[test]
fn a_send_below_the_high_mark_does_not_wait() {
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, b"a");
    world.send(handle, OWNER, &[0; A_LOT]);
    let pending = |world: &World| world.trunk.statistics(handle).unwrap().pending;
    while pending(&world) >= 48 << 10 {
        world.take(1);
    }
    let room = (64 << 10) - pending(&world);
    assert_eq!(world.send(handle, OWNER, &vec![0; room - 1]), Send::Done);
    assert_eq!(pending(&world), (64 << 10) - 1);
    assert_eq!(world.send(handle, OWNER, b"x"), Send::Done);
    send_wait(world.send(handle, OWNER, b"y"));
}

#[test]
fn a_wait_for_room_can_be_cancelled() {
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, b"a");
    world.send(handle, OWNER, &[0; A_LOT]);
    let number = send_wait(world.send(handle, OWNER, b"more"));
    assert!(world.trunk.cancel(handle, OWNER, number));
    assert_eq!(world.trunk.status().waiters, 0);
    let heard = world.take_all();
    assert_eq!(world.wakes(), []);
    let bytes: usize = heard.into_iter().map(|data| data_of(1)(data).len()).sum();
    assert_eq!(bytes, A_LOT, "what waited was not sent");
}

#[test]
fn a_close_wakes_those_who_wait_for_room() {
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, b"a");
    world.send(handle, OWNER, &[0; A_LOT]);
    let number = send_wait(world.send(handle, OWNER + 1, b"more"));
    world.close(handle);
    assert_eq!(world.wakes(), [(OWNER + 1, number)]);
    assert_eq!(
        world.send(handle, OWNER + 1, b"more"),
        Send::Failed(Reason::Closed)
    );
}

#[test]
fn connections_take_turns_of_one_frame() {
    let mut world = World::new(raw());
    let handles = [1, 2, 3].map(|n| world.open(n, OWNER, b"a"));
    for handle in handles {
        assert_eq!(world.send(handle, OWNER, &[0; A_LOT]), Send::Done);
    }
    // The first filled the outbox; the rest of it and the others queue.
    let ahead = world.take(1);
    assert!(ahead.into_iter().all(|heard| heard_by(&heard) == 1));
    let turns: Vec<_> = world
        .take(9 * FRAME)
        .iter()
        .map(|heard| (heard_by(heard), size(heard)))
        .collect();
    let expected: Vec<_> = [1, 2, 3].repeat(3).iter().map(|n| (*n, CONTENT)).collect();
    assert_eq!(turns, expected);
}

#[test]
fn small_senders_never_starve_one_that_queues() {
    let mut world = World::new(raw());
    let large = world.open(1, OWNER, b"a");
    world.send(large, OWNER, &[0; A_LOT]);
    let small: Vec<_> = (2..300).map(|n| world.open(n, OWNER, b"a")).collect();
    let batch = 256 << 10;
    world.take(batch);
    let mut without = 0;
    for _ in 0..10 {
        // All together more than a batch, so that the turns go around once in some batches.
        for handle in &small {
            world.send(*handle, OWNER, &[0; 1024]);
        }
        let heard = world.take(batch);
        let had_turn = heard.iter().any(|heard| heard_by(heard) == 1);
        without = if had_turn { 0 } else { without + 1 };
        assert!(without < 3, "no turn in three batches");
    }
}

#[test]
fn what_is_sent_later_never_overtakes_what_queues() {
    let mut world = World::new(raw());
    let handle = world.open(1, OWNER, b"a");
    let mut sent = vec![0; 300 << 10];
    world.send(handle, OWNER, &sent);
    world.take(1);
    for byte in 1..50u8 {
        assert_eq!(world.send(handle, OWNER, &[byte]), Send::Done);
        sent.push(byte);
    }
    let mut heard: Vec<u8> = world.take_all().into_iter().flat_map(data_of(1)).collect();
    // The first batch was taken above.
    let missing = sent.len() - heard.len();
    heard.splice(0..0, vec![0; missing]);
    assert_eq!(heard, sent);
}

fn heard_by(heard: &Heard) -> u64 {
    match heard {
        Heard::Data(n, _) | Heard::Close(n) => *n,
    }
}

fn size(heard: &Heard) -> usize {
    match heard {
        Heard::Data(_, data) => data.len(),
        Heard::Close(_) => 0,
    }
}

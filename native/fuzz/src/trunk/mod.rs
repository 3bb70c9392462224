//! A whole trunk between a peer and its owners, each of which does what an input says.
//!
//! What must hold after each step: each byte comes to its connection once and in order; who waits is counted, and
//! nobody is woken who does not wait. And at the end: no connection, byte or waiter is left.

mod owners;
mod v1;
mod v2;
mod wire;
mod world;

pub use v1::V1;
pub use v2::V2;

use crate::Input;
use world::World;

/// The other end of the trunk.
pub trait Peer: Sized {
    /// A trunk and its peer as the input has them.
    fn new(input: &mut Input<'_>) -> (Self, World);

    /// Does something; what it has to say is on its way then.
    fn act(&mut self, world: &mut World, input: &mut Input<'_>);

    /// Some of what it said arrives.
    fn arrive(&mut self, world: &mut World, most: usize);

    /// What the trunk's writer took arrives.
    fn hear(&mut self, world: &mut World, batch: &[u8]);

    /// All say what they have to say, and close; what was said was heard then.
    fn end(&mut self, world: &mut World);
}

/// Runs an input; how many frames were processed.
pub fn run<P: Peer>(input: &[u8]) -> u64 {
    let mut input = Input::new(input);
    let (mut peer, mut world) = P::new(&mut input);
    while !input.is_empty() && !world.is_lost() {
        match input.byte() {
            ..0x90 => peer.act(&mut world, &mut input),
            choice @ 0x90..0xb0 => {
                let most = input.length() << (choice & 0xf);
                peer.arrive(&mut world, most);
            }
            0xb0..0xc0 => {
                let limit = input.length() + 1;
                take(&mut peer, &mut world, limit);
            }
            choice => world.act(&mut input, choice),
        }
        world.check();
    }
    if !world.is_lost() {
        peer.end(&mut world);
    }
    world.end()
}

/// The writer takes a batch; whether there was one.
fn take<P: Peer>(peer: &mut P, world: &mut World, limit: usize) -> bool {
    let Some(batch) = world.take(limit) else {
        return false;
    };
    peer.hear(world, &batch);
    world.spare = batch;
    true
}

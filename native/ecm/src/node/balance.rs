//! How many sessions each node should have by its weight, and how many should move from it to others. It reads no
//! clock.
//!
//! Shares are whole numbers: what is left over after dividing goes to the nodes that have the most already. So a node
//! that has its share keeps it, and no session moves to a node that it would have to leave again.

/// How far a node may be from its share, in percent of that, before sessions move by themselves. Once they do, they go
/// on until all nodes have their shares.
const TOLERANCE: u64 = 4;

/// A node among those that share their sessions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Its sessions that are not on their way to another node.
    pub sessions: u64,
    /// Its weight relative to the others'.
    pub weight: u64,
    /// The most sessions that it takes; 0 for any number.
    pub most: u64,
}

/// What a node has to do to reach its share.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Part {
    /// How many sessions it should have.
    pub share: u64,
    /// How many should leave it.
    pub quota: u64,
    /// How many should come to it.
    pub room: u64,
}

/// The parts of the nodes. `on_their_way` sessions more have left one node and not reached another yet.
pub fn parts(members: &[Member], on_their_way: u64) -> Vec<Part> {
    let shares = shares(members, on_their_way);
    let mut parts: Vec<_> = members
        .iter()
        .zip(shares)
        .map(|(member, share)| Part {
            share,
            quota: member.sessions.saturating_sub(share),
            room: share.saturating_sub(member.sessions),
        })
        .collect();
    // If no node has room, surplus sessions stay. Some of the room is taken by those on their way.
    let room: u64 = parts.iter().map(|part| part.room).sum();
    let mut left = room.saturating_sub(on_their_way);
    for part in &mut parts {
        part.quota = part.quota.min(left);
        left -= part.quota;
    }
    parts
}

/// Whether a node is so far from its share that sessions should move by themselves.
pub fn is_uneven(members: &[Member]) -> bool {
    let parts = parts(members, 0);
    let moves = parts.iter().any(|part| part.quota > 0);
    let mut differences = members
        .iter()
        .zip(parts)
        .map(|(member, part)| (member.sessions.abs_diff(part.share), part.share));
    // One session too many is no reason: the next login may change who has it.
    moves && differences.any(|(by, share)| by > 1 && by * 100 > share * TOLERANCE)
}

fn shares(members: &[Member], on_their_way: u64) -> Vec<u64> {
    let total = members.iter().map(|member| member.sessions).sum::<u64>() + on_their_way;
    let mut shares: Vec<Option<u64>> = vec![None; members.len()];
    // A node whose share would exceed its maximum gets just that, and the others share the rest.
    loop {
        let (left, weights) = rest(members, &shares, total);
        let mut is_full = false;
        for (share, member) in shares.iter_mut().zip(members) {
            if share.is_none()
                && member.most > 0
                && u128::from(member.most) * weights < u128::from(left) * u128::from(member.weight)
            {
                *share = Some(member.most);
                is_full = true;
            }
        }
        if !is_full {
            return divide(members, &shares, left, weights);
        }
    }
}

/// How many sessions are left for the nodes that have no share yet, and the sum of their weights.
fn rest(members: &[Member], shares: &[Option<u64>], total: u64) -> (u64, u128) {
    let given: u64 = shares.iter().flatten().sum();
    let open = members.iter().zip(shares);
    let weights = open
        .filter(|(_, share)| share.is_none())
        .map(|(member, _)| u128::from(member.weight));
    (total.saturating_sub(given), weights.sum())
}

/// Divides the rest among the nodes that have no share yet.
fn divide(members: &[Member], given: &[Option<u64>], left: u64, weights: u128) -> Vec<u64> {
    let mut undivided = left;
    // The nodes whose exact share is not a whole number.
    let mut between = Vec::new();
    let mut shares = Vec::with_capacity(members.len());
    for (place, (member, given)) in members.iter().zip(given).enumerate() {
        shares.push(given.unwrap_or_else(|| {
            let all = u128::from(left) * u128::from(member.weight);
            if !all.is_multiple_of(weights) {
                between.push(place);
            }
            let share = u64::try_from(all / weights).unwrap_or(u64::MAX);
            undivided = undivided.saturating_sub(share);
            share
        }));
    }
    let surplus = |place: &usize| i128::from(members[*place].sessions) - i128::from(shares[*place]);
    between.sort_by_key(|place| std::cmp::Reverse(surplus(place)));
    for place in between
        .into_iter()
        .zip(0..undivided)
        .map(|(place, _)| place)
    {
        shares[place] += 1;
    }
    shares
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn member(sessions: u64, weight: u64, most: u64) -> Member {
        Member {
            sessions,
            weight,
            most,
        }
    }

    fn of(members: &[(u64, u64, u64)]) -> Vec<Member> {
        let members = members.iter();
        members
            .map(|(sessions, weight, most)| member(*sessions, *weight, *most))
            .collect()
    }

    /// The share, the quota and the room of each.
    fn numbers(members: &[(u64, u64, u64)]) -> Vec<(u64, u64, u64)> {
        let parts = parts(&of(members), 0);
        parts
            .iter()
            .map(|part| (part.share, part.quota, part.room))
            .collect()
    }

    #[test]
    fn a_node_that_came_back_gets_its_share_of_the_others() {
        assert_eq!(
            numbers(&[(50, 1, 0), (50, 1, 0), (0, 1, 0)]),
            [(34, 16, 0), (33, 17, 0), (33, 0, 33)]
        );
        // By its weight.
        assert_eq!(
            numbers(&[(50, 1, 0), (50, 1, 0), (0, 2, 0)]),
            [(25, 25, 0), (25, 25, 0), (50, 0, 50)]
        );
        // No more than it takes.
        assert_eq!(
            numbers(&[(50, 1, 0), (50, 1, 0), (0, 2, 10)]),
            [(45, 5, 0), (45, 5, 0), (10, 0, 10)]
        );
        // Others have room for what it does not take, and where none has, sessions stay.
        assert_eq!(
            numbers(&[(90, 1, 60), (0, 1, 10)]),
            [(60, 10, 0), (10, 0, 10)]
        );
        assert_eq!(numbers(&[(90, 1, 60)]), [(60, 0, 0)]);
        assert_eq!(numbers(&[]), []);
    }

    #[test]
    fn those_on_their_way_have_their_places() {
        // Three have left the first, and one of them has come to the second, as it is counted there.
        let parts = parts(&of(&[(7, 1, 0), (1, 1, 0)]), 2);
        assert_eq!((parts[0].quota, parts[1].room), (2, 4));
    }

    #[test]
    fn a_little_is_no_reason_to_move() {
        for (members, uneven) in [
            (&[(100, 1, 0), (100, 1, 0), (97, 1, 0)][..], false),
            (&[(105, 1, 0), (105, 1, 0), (90, 1, 0)], true),
            (&[(1040, 1, 0), (960, 1, 0)], false),
            (&[(1050, 1, 0), (950, 1, 0)], true),
            (&[(3, 1, 0), (1, 1, 0)], false),
            (&[(4, 1, 0), (0, 1, 0)], true),
            (&[(4, 1, 0)], false),
            // Nothing can be done.
            (&[(90, 1, 10), (10, 1, 10)], false),
        ] {
            assert_eq!(is_uneven(&of(members)), uneven, "{members:?}");
        }
    }

    fn members() -> impl Strategy<Value = Vec<Member>> {
        let most = prop_oneof![Just(0_u64), 1_u64..2000];
        let one = (0_u64..1000, 1_u64..=256, most);
        let one = one.prop_map(|(sessions, weight, most)| member(sessions, weight, most));
        proptest::collection::vec(one, 0..9)
    }

    proptest! {
        #[test]
        fn all_sessions_have_a_share_unless_all_nodes_are_full(members in members(), moving in 0_u64..50) {
            let total = members.iter().map(|it| it.sessions).sum::<u64>() + moving;
            let parts = parts(&members, moving);
            let shares: u64 = parts.iter().map(|part| part.share).sum();
            if members.iter().any(|it| it.most == 0) {
                prop_assert_eq!(shares, total);
            } else {
                let most = members.iter().map(|it| it.most).sum::<u64>();
                prop_assert_eq!(shares, total.min(most));
            }
            for (member, part) in members.iter().zip(&parts) {
                prop_assert!(member.most == 0 || part.share <= member.most);
            }
        }

        /// Of two nodes that are not full, each has within one session of what its weight says beside the other's.
        #[test]
        fn shares_are_by_weight(members in members()) {
            let parts = parts(&members, 0);
            let open = members.iter().zip(&parts).filter(|(it, part)| it.most == 0 || part.share < it.most);
            let open: Vec<_> = open.collect();
            for (one, its) in &open {
                for (other, others) in &open {
                    let fair = others.share as f64 * one.weight as f64 / other.weight as f64;
                    let rounding = 1.0 + one.weight as f64 / other.weight as f64;
                    prop_assert!((its.share as f64 - fair).abs() <= rounding);
                }
            }
        }

        #[test]
        fn no_more_leave_than_are_too_many_nor_than_others_have_room_for(
            members in members(),
            moving in 0_u64..50,
        ) {
            let parts = parts(&members, moving);
            for (member, part) in members.iter().zip(&parts) {
                prop_assert!(part.quota <= member.sessions.saturating_sub(part.share));
                prop_assert!(part.quota == 0 || part.room == 0);
                prop_assert!(member.sessions + part.room <= part.share.max(member.sessions));
            }
            let quota: u64 = parts.iter().map(|part| part.quota).sum();
            let room: u64 = parts.iter().map(|part| part.room).sum();
            prop_assert!(quota + moving.min(room) <= room);
        }

        /// Sessions that move one by one, from a node with a quota to one with room, end with all nodes at their
        /// shares; none is moved twice, no node has both given and taken, and then nothing is to be done.
        #[test]
        fn it_ends_without_a_session_that_goes_back(
            members in members(),
            choices in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..20),
        ) {
            let mut members = members;
            let first: u64 = parts(&members, 0).iter().map(|part| part.quota).sum();
            let mut gave = vec![false; members.len()];
            let mut took = vec![false; members.len()];
            let mut moves = 0;
            loop {
                let parts = parts(&members, 0);
                let of = |has: fn(&Part) -> bool| -> Vec<usize> {
                    (0..parts.len()).filter(|place| has(&parts[*place])).collect()
                };
                let (givers, takers) = (of(|part| part.quota > 0), of(|part| part.room > 0));
                if givers.is_empty() {
                    break;
                }
                let (giver, taker) = &choices[moves % choices.len()];
                let (giver, taker) = (*giver.get(&givers), *taker.get(&takers));
                members[giver].sessions -= 1;
                members[taker].sessions += 1;
                gave[giver] = true;
                took[taker] = true;
                moves += 1;
            }
            prop_assert_eq!(moves as u64, first);
            prop_assert!(gave.iter().zip(&took).all(|(gave, took)| !(gave & took)));
            prop_assert!(!is_uneven(&members));
        }
    }
}

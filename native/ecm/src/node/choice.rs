//! Which node gets the next session or request. It reads no clock and draws no random numbers itself.

/// A node that may be chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate {
    /// How many sessions, or HTTP connections, it has: the kind that a node is chosen for.
    pub load: u64,
    /// Its weight, lower during slow start; always more than 0.
    pub weight: f64,
}

/// What a choice depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts {
    /// Its state is ready.
    pub ready: bool,
    /// It has a trunk that takes connections.
    pub up: bool,
    /// It is not ejected.
    pub well: bool,
}

/// The better of two that are drawn at random in proportion to their weights: the one with the lower load per weight.
/// If the best of all were taken, every ECM of a fleet would send it everything until they see its load grow.
pub fn better_of_two(candidates: &[Candidate], random: [f64; 2]) -> Option<usize> {
    let one = draw(candidates, None, random[0])?;
    let Some(other) = draw(candidates, Some(one), random[1]) else {
        return Some(one);
    };
    if candidates[other].score() < candidates[one].score() {
        Some(other)
    } else {
        Some(one)
    }
}

impl Candidate {
    fn score(&self) -> f64 {
        (self.load as f64 + 1.0) / self.weight
    }
}

/// Draws one of them, but not `except`; `random` is from 0 to 1.
fn draw(candidates: &[Candidate], except: Option<usize>, random: f64) -> Option<usize> {
    let others = || {
        let all = candidates.iter().enumerate();
        all.filter(|(place, _)| Some(*place) != except)
    };
    let total: f64 = others().map(|(_, candidate)| candidate.weight).sum();
    let mut left = random * total;
    let mut last = None;
    for (place, candidate) in others() {
        last = Some(place);
        left -= candidate.weight;
        if left < 0.0 {
            break;
        }
    }
    last
}

/// Whether fewer than `threshold` percent of the ready nodes are well. Then health is hardly what is wrong with the
/// others: this program may be the one that hears nothing, and the few that are well would be overwhelmed.
pub fn is_panic(nodes: impl Iterator<Item = Facts>, threshold: u64) -> bool {
    let (mut ready, mut well) = (0_u64, 0_u64);
    for facts in nodes.filter(|facts| facts.ready) {
        ready += 1;
        well += u64::from(facts.up && facts.well);
    }
    well * 100 < ready * threshold
}

impl Facts {
    /// Whether the node may be chosen.
    pub const fn is_usable(self, panic: bool) -> bool {
        self.ready && self.up && (self.well || panic)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WELL: Facts = Facts {
        ready: true,
        up: true,
        well: true,
    };
    const EJECTED: Facts = Facts {
        well: false,
        ..WELL
    };
    const DOWN: Facts = Facts { up: false, ..WELL };
    const DRAINED: Facts = Facts {
        ready: false,
        ..WELL
    };

    #[test]
    fn fewer_than_the_threshold_is_panic() {
        for (nodes, expected) in [
            (&[WELL][..], false),
            (&[EJECTED], true),
            (&[WELL, EJECTED], false),
            (&[WELL, EJECTED, EJECTED], true),
            (&[WELL, EJECTED, DOWN], true),
            (&[WELL, WELL, EJECTED], false),
            // Nodes that the operator took out don't count.
            (&[WELL, EJECTED, DRAINED, DRAINED], false),
            (&[], false),
        ] {
            assert_eq!(is_panic(nodes.iter().copied(), 50), expected, "{nodes:?}");
        }
        assert!(!is_panic([EJECTED, EJECTED].into_iter(), 0));
        assert!(is_panic([WELL, EJECTED].into_iter(), 100));
    }

    #[test]
    fn in_panic_the_ejected_are_used_and_what_is_down_or_drained_is_not() {
        for (facts, calm, panic) in [
            (WELL, true, true),
            (EJECTED, false, true),
            (DOWN, false, false),
            (DRAINED, false, false),
        ] {
            assert_eq!(
                (facts.is_usable(false), facts.is_usable(true)),
                (calm, panic)
            );
        }
    }

    fn candidates() -> impl Strategy<Value = Vec<Candidate>> {
        let one = (0_u64..1000, 1_u32..=100).prop_map(|(load, weight)| Candidate {
            load,
            weight: f64::from(weight),
        });
        proptest::collection::vec(one, 1..12)
    }

    proptest! {
        #[test]
        fn of_two_nodes_it_is_always_the_better(
            all in candidates(),
            random in [0.0..=1.0, 0.0..=1.0],
        ) {
            let all = &all[..all.len().min(2)];
            let chosen = better_of_two(all, random).unwrap();
            for candidate in all {
                prop_assert!(all[chosen].score() <= candidate.score());
            }
        }

        #[test]
        fn the_worst_of_several_is_never_chosen(
            all in candidates(),
            random in [0.0..=1.0, 0.0..=1.0],
        ) {
            let chosen = better_of_two(&all, random).unwrap();
            let worse = all.iter().filter(|it| it.score() >= all[chosen].score()).count();
            prop_assert!(all.len() == 1 || worse >= 2);
        }

        /// Whatever the weights, each node's share of many sessions is its weight's.
        #[test]
        fn sessions_are_shared_by_weight(
            weights in proptest::collection::vec(1_u32..=20, 1..8),
            seed in any::<u64>(),
        ) {
            let mut all: Vec<_> = weights
                .iter()
                .map(|weight| Candidate { load: 0, weight: f64::from(*weight) })
                .collect();
            let mut state = seed;
            let mut random = || {
                // Numerical Recipes' generator: the same sequence for the same seed.
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (state >> 33) as f64 / f64::from(1_u32 << 31)
            };
            let total = 4000.0;
            for _ in 0..4000 {
                let chosen = better_of_two(&all, [random(), random()]).unwrap();
                all[chosen].load += 1;
            }
            let sum: f64 = all.iter().map(|it| it.weight).sum();
            for candidate in &all {
                let share = total * candidate.weight / sum;
                let difference = (candidate.load as f64 - share).abs();
                prop_assert!(difference <= 5.0 + 0.05 * share, "{all:?}");
            }
        }
    }
}

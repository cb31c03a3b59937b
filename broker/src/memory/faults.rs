//! Injects faults for tests, from a seed: lost, duplicated, reordered and delayed deliveries.

/// Probabilities, in percent, of a fault when a bundle is granted; drawn from a generator seeded
/// with `seed`, so that runs are reproducible. At most one fault occurs per grant, so their sum
/// should stay below 100; a bundle that is always dropped or delayed is never delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faults {
    /// The generator's seed. Print it when a test fails.
    pub seed: u64,
    /// The grant is lost: the lease runs, but no worker has it.
    pub drop: u8,
    /// The bundle is granted, and stays ready for another worker too, as the next delivery.
    pub duplicate: u8,
    /// Every other ready bundle of the same priority goes first, if the worker may take it.
    pub reorder: u8,
    /// The bundle becomes ready only later, by a tenth of a lease.
    pub delay: u8,
}

impl Faults {
    /// No faults; set those that are wanted.
    #[must_use]
    pub const fn seeded(seed: u64) -> Self {
        Self {
            seed,
            drop: 0,
            duplicate: 0,
            reorder: 0,
            delay: 0,
        }
    }
}

/// Draws faults.
#[derive(Debug, Clone)]
pub(super) struct FaultInjector {
    faults: Faults,
    state: u64,
}

/// What strikes one grant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    Drop,
    Duplicate,
    Reorder,
    Delay,
}

impl FaultInjector {
    pub(super) fn new(faults: Faults) -> Self {
        Self {
            faults,
            state: faults.seed,
        }
    }

    pub(super) fn roll(&mut self) -> Fault {
        let roll = u8::try_from(self.next() % 100).unwrap_or(0);
        let mut bound = 0_u8;
        let Faults {
            seed: _,
            drop,
            duplicate,
            reorder,
            delay,
        } = self.faults;
        for (chance, fault) in [
            (drop, Fault::Drop),
            (duplicate, Fault::Duplicate),
            (reorder, Fault::Reorder),
            (delay, Fault::Delay),
        ] {
            bound = bound.saturating_add(chance);
            if roll < bound {
                return fault;
            }
        }
        Fault::None
    }

    /// `SplitMix64` (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", OOPSLA
    /// 2014).
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

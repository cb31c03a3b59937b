//! Functions that make tasks of their own.
//!
//! `pi` spreads random points over tasks and adds up their answers. `integral` splits an interval
//! in two, as often as it must for an error that is small enough, and each half is a task that may
//! split again: how many there will be is not known before.
//!
//! Both are deterministic: the points follow from a seed.

use sortie_guest::{Failure, TaskGroup};

/// The most points of one task of `pi`: a second of work, about.
const POINTS_MAX: u64 = 50_000_000;

/// An interval that is evaluated in one task if its error is small enough.
const PANELS: u32 = 1_000;

/// Below this depth intervals are split within their task: a task is worth some milliseconds.
const DEPTH_MAX: u32 = 8;

/// Numbers that look random and follow from a seed: SplitMix64 (Steele, Lea and Flood, "Fast
/// splittable pseudorandom number generators", 2014).
struct SplitMix(u64);

impl SplitMix {
    /// The next one, from 0 up to 1.
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        (bits >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// How many of `points` random points of a square lie in the circle within it.
#[sortie_guest::function]
pub fn hits(seed: u64, points: u64) -> u64 {
    let mut random = SplitMix(seed.wrapping_mul(0xd134_2543_de82_ef95));
    let mut hits = 0;
    for _ in 0..points {
        let (x, y) = (random.next(), random.next());
        hits += u64::from(x.mul_add(x, y * y) < 1.0);
    }
    hits
}

/// An estimate of pi from `points` random points in each of `tasks` tasks.
///
/// Fails with `too-many-points` above 50 million for each task.
#[sortie_guest::function]
pub fn pi(tasks: u64, points: u64) -> Result<f64, Failure> {
    if points > POINTS_MAX || tasks == 0 || points == 0 {
        return Err(Failure::new(
            "too-many-points",
            format_args!("1 to {POINTS_MAX} points for each of at least one task"),
        ));
    }
    let mut group = TaskGroup::new();
    for seed in 0..tasks {
        group.spawn("hits", (seed, points))?;
    }
    let hits: u64 = group.join::<u64>()?.into_iter().sum();
    Ok(4.0 * hits as f64 / (tasks as f64 * points as f64))
}

/// The integral of `sin(1/x)` from `from` to `to`, which are positive, with an error of about
/// `error`. Towards 0 it swings ever faster, so that is where tasks are made.
#[sortie_guest::function]
pub fn integral(from: f64, to: f64, error: f64) -> Result<f64, Failure> {
    let is_interval = from > 0.0 && from < to && to.is_finite() && error > 0.0;
    if !is_interval {
        return Err(Failure::new(
            "bad-interval",
            "0 < from < to, and an error above 0",
        ));
    }
    part(from, to, error, 0)
}

/// A part of an integral, `depth` splits below the whole.
#[sortie_guest::function]
pub fn part(from: f64, to: f64, error: f64, depth: u32) -> Result<f64, Failure> {
    let middle = f64::midpoint(from, to);
    let whole = simpson(from, to, PANELS);
    let halves = [simpson(from, middle, PANELS), simpson(middle, to, PANELS)];
    let sum = halves.iter().sum::<f64>();
    // Halving the panels divides the error of the rule by sixteen.
    if (whole - sum).abs() <= 15.0 * error {
        return Ok(sum);
    }
    let halves =
        [(from, middle), (middle, to)].map(|(from, to)| (from, to, error / 2.0, depth + 1));
    if depth >= DEPTH_MAX {
        let parts = halves.map(|(from, to, error, depth)| part(from, to, error, depth));
        return parts.into_iter().sum();
    }
    let mut group = TaskGroup::new();
    for half in halves {
        group.spawn("part", half)?;
    }
    Ok(group.join::<f64>()?.into_iter().sum())
}

/// The integral by Simpson's rule over so many pairs of panels.
fn simpson(from: f64, to: f64, pairs: u32) -> f64 {
    let width = (to - from) / f64::from(2 * pairs);
    let at = |panel: u32| (1.0 / f64::from(panel).mul_add(width, from)).sin();
    let inner: f64 = (1..2 * pairs)
        .map(|panel| at(panel) * if panel % 2 == 1 { 4.0 } else { 2.0 })
        .sum();
    (at(0) + inner + at(2 * pairs)) * width / 3.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_estimate_is_near_and_the_same_each_time() {
        let estimate = pi(20, 50_000).unwrap();
        assert!((estimate - std::f64::consts::PI).abs() < 0.01, "{estimate}");
        assert_eq!(pi(20, 50_000).unwrap().to_bits(), estimate.to_bits());
        assert_eq!(pi(1, 0).unwrap_err().code(), "too-many-points");
    }

    #[test]
    fn an_integral_that_swings_has_the_error_that_was_asked_for() {
        // As mpmath gives it: the antiderivative is x sin(1/x) - Ci(1/x).
        let sum = integral(0.01, 1.0, 1e-9).unwrap();
        assert!((sum - EXPECTED).abs() < 1e-8, "{sum}");
        assert_eq!(integral(1.0, 1.0, 1e-9).unwrap_err().code(), "bad-interval");
    }

    /// Ci(100) - Ci(1) + sin(1) - 0.01 sin(100).
    const EXPECTED: f64 = 0.503_981_893_175_415_4;
}

//! Metrics as plain values: what a metric is called and means, and one reading of it.
//!
//! Each crate names its metrics as constants in its `metrics.rs`; a program that serves them
//! renders the readings without knowing which there are. Names start with `sortie_` and end in
//! their unit. Labels are from closed sets, never an id.

mod instruments;

pub use self::instruments::{
    ANSWER, BLAME_NONE, CANCELLED, COMPLETED, Counter, EndingCounter, Sizes, Times, labels,
};

/// What a metric is called, and what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Metric {
    /// Its name, with the unit at the end: `_seconds`, `_bytes`, `_total`, or the thing counted.
    pub name: &'static str,
    /// How its readings relate to each other.
    pub kind: Kind,
    /// One sentence for the person who reads a dashboard.
    pub help: &'static str,
}

impl Metric {
    /// A metric that only grows.
    #[must_use]
    pub const fn counter(name: &'static str, help: &'static str) -> Self {
        let kind = Kind::Counter;
        Self { name, kind, help }
    }

    /// A metric that goes up and down.
    #[must_use]
    pub const fn gauge(name: &'static str, help: &'static str) -> Self {
        let kind = Kind::Gauge;
        Self { name, kind, help }
    }

    /// A metric that counts observations by size.
    #[must_use]
    pub const fn histogram(name: &'static str, help: &'static str) -> Self {
        let kind = Kind::Histogram;
        Self { name, kind, help }
    }
}

/// How the readings of a metric relate to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, from the start of the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts observations by size.
    Histogram,
}

/// One reading of a metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Of which metric.
    pub metric: &'static Metric,
    /// Names and values of its labels.
    pub labels: Vec<(&'static str, &'static str)>,
    /// What was read.
    pub value: Value,
}

/// What was read of a metric.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A count, or a number of bytes.
    Count(u64),
    /// A time in seconds.
    Seconds(f64),
    /// Observations by size.
    Distribution(Distribution),
}

/// Observations by size.
#[derive(Debug, Clone, PartialEq)]
pub struct Distribution {
    /// Upper bounds, in the metric's unit, ascending, and how many observations were at most that;
    /// cumulative.
    pub buckets: Vec<(f64, u64)>,
    /// How many observations there were.
    pub count: u64,
    /// Their sum, in the metric's unit.
    pub sum: f64,
}

impl Sample {
    /// A reading without labels.
    #[must_use]
    pub const fn new(metric: &'static Metric, value: Value) -> Self {
        Self {
            metric,
            labels: Vec::new(),
            value,
        }
    }

    /// A reading without labels of a count, or of a number of bytes.
    #[must_use]
    pub const fn count(metric: &'static Metric, count: u64) -> Self {
        Self::new(metric, Value::Count(count))
    }
}

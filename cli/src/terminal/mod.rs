//! Terminal output and signals: text on stderr, progress, tables, interrupts.

mod clock;
pub(crate) mod diagnostics;
pub(crate) mod interrupt;
pub(crate) mod progress;
pub(crate) mod stdout;
pub(crate) mod summary;
pub(crate) mod table;
pub(crate) mod text;
mod units;

pub(crate) use self::clock::{now, time_of_day};
pub(crate) use self::text::{error, line, log, say, text};
pub(crate) use self::units::megabytes;

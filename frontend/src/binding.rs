//! Binds arguments: turns texts into the arguments of tasks, by the signature of their function.
//!
//! A text is interpreted by the parameter's kind: an object or prefix as a path, pattern or URL, a
//! value as JSON. Local files, listings and lines of inputs are checked as early as possible, and a
//! list of any length is bound as a stream that holds only the tasks in flight.

mod in_flight;
mod inputs;
mod lines;
mod places;
mod shape;
mod types;

pub use self::in_flight::{InFlight, Order};
pub use self::inputs::{Inputs, Source, Tasks};
pub use self::lines::Origin;
pub use self::places::{Files, Names, Notice, OutputFile, Places};
pub(crate) use self::shape::name;
pub use self::shape::{Shape, shown};
pub(crate) use self::types::Type;

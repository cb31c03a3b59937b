//! Binds arguments: turns texts into the arguments of tasks, by the signature of their function.
//!
//! A text is read as what its parameter takes: an object or prefix by path, pattern or URL, a value
//! as JSON. Local files, listings and lines of inputs are found as early as can be, and a list of
//! any length is bound as a stream that holds no more than what is under way.

mod in_flight;
mod inputs;
mod lines;
mod places;
mod shape;

pub use self::in_flight::{InFlight, Order};
pub use self::inputs::{Inputs, Source, Tasks};
pub use self::lines::Origin;
pub use self::places::{Files, Names, Notice, OutputFile, Places};
pub use self::shape::Shape;

//! The contract as Rust items, generated from `wit/sortie-task`. Not for people.
//!
//! Everything unsafe in this crate is generated in here.

#![expect(
    unsafe_code,
    reason = "generated code crosses the component's boundary"
)]

wit_bindgen::generate!({
    path: "../wit/sortie-task",
    world: "task",
});

export!(Exports with_types_in self);

use crate::component::Exports;

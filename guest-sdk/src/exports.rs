//! Exports [`Exports`] from the component under the names that the contract gives.
//!
//! The exported functions are generated, and unsafe because raw pointers cross the component's
//! boundary. Nothing else belongs here.

#![expect(
    unsafe_code,
    reason = "generated code crosses the component's boundary"
)]

use crate::bindings;
use crate::component::Exports;

bindings::export!(Exports with_types_in crate::bindings);

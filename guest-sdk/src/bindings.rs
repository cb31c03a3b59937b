//! Rust bindings of the contract, generated from `wit/sortie-task`. Not a public API.
//!
//! The generated code is unsafe, because it crosses the component's boundary. The exported
//! functions are generated in `exports`.

wit_bindgen::generate!({
    path: "../wit/sortie-task",
    world: "task",
});

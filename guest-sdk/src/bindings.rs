//! The contract as Rust items, generated from `wit/sortie-task`. Not for people.
//!
//! The generated code is unsafe, because it crosses the component's boundary. The exported
//! functions are generated in `exports`.

wit_bindgen::generate!({
    path: "../wit/sortie-task",
    world: "task",
});

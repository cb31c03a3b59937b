//! Unifies features of dependencies, so that the demo and the whole workspace share one build.
//!
//! Cargo enables the features that the selected packages ask for. A build of `sortie-cli` alone
//! would leave out features that the test packages add to crates deep in the graph, such as `log`.
//! The next build of the workspace would then compile wasmtime and most other crates again. This
//! package asks for those features. `cargo xtask demo` selects it together with `sortie-cli`.
//!
//! It has no code, and no package depends on it. A check in `xtask/src/tidy/features.rs` compares
//! both selections and names the crates whose features differ.

//! Fuzzes the look at a component's structure, before it is compiled.

use sortie_host::fuzzing::structure;

use crate::memory::{at_most, measured};

/// What looking may allocate for each byte: the names of imports and exports, while their list
/// grows. For what else a component has, it allocates nothing.
const MEMORY_FACTOR: usize = 32;

/// Looks at a component. Its names are no longer than itself.
pub fn run(component: &[u8]) {
    let (looked, bytes) = measured(|| structure(component));
    at_most(bytes, component, MEMORY_FACTOR);
    if let Ok((imports, exports)) = looked {
        let names: usize = imports.iter().chain(&exports).map(String::len).sum();
        assert!(names <= component.len());
    }
}

/// Components with imports, exports, nested parts, branches and types.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    let texts = [
        "(component)".to_owned(),
        "(module)".to_owned(),
        "(component (import \"a:b/c\" (instance $i)) (component (import \"inner\" (func))) \
         (export \"d:e/f\" (instance $i)))"
            .to_owned(),
        format!("{}{}", "(component ".repeat(9), ")".repeat(9)),
        "(component (core module (memory 1) (func (export \"f\") (param i32) (result i32) \
         (local i64 f32) (block (loop (br_if 1 (i32.eqz (local.get 0))) \
         (br_table 0 1 0 (local.get 0)))) (i32.const 7)) (data (i32.const 0) \"abc\")))"
            .to_owned(),
        "(component (core type $t (func (param i32))) (type $r (record (field \"a\" string))) \
         (core module $m (type (func)) (import \"x\" \"y\" (func)) (table 1 funcref) \
         (global i32 (i32.const 1))))"
            .to_owned(),
        format!(
            "(component (core module (func (local {}) {})))",
            "i32 ".repeat(2_000),
            "(block (br_if 0 (i32.const 0)))".repeat(300)
        ),
    ];
    texts
        .iter()
        .map(|text| wat::parse_str(text).expect("a seed is WebAssembly"))
        .collect()
}

//! No behaviour without a test.

use sortie_harness::{Sortie, component};

/// The texts of the other modules.
const TESTS: [&str; 15] = [
    include_str!("answers.rs"),
    include_str!("bad_input.rs"),
    include_str!("data_sets.rs"),
    include_str!("hostile.rs"),
    include_str!("interrupts.rs"),
    include_str!("lists.rs"),
    include_str!("map.rs"),
    include_str!("named.rs"),
    include_str!("neighbours.rs"),
    include_str!("outputs.rs"),
    include_str!("places.rs"),
    include_str!("probes.rs"),
    include_str!("tables.rs"),
    include_str!("typed.rs"),
    include_str!("../client/subtasks.rs"),
];

#[test]
fn every_function_of_behaviours_is_used_by_a_test() {
    let ran = Sortie::new([
        "inspect".as_ref(),
        component("behaviours").as_os_str(),
        "--json".as_ref(),
    ])
    .run()
    .code(0);
    let described = ran.value();
    let names = described["functions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|function| function["name"].as_str().unwrap());
    let unused: Vec<_> = names
        .filter(|name| {
            !TESTS
                .iter()
                .any(|text| text.contains(&format!("\"{name}\"")))
        })
        .collect();
    assert!(unused.is_empty(), "no test uses {unused:?}");
}

//! Fuzz targets: properties of the decoders that read bytes from outside the process.
//!
//! Each module has one target: `run` gives any bytes to decoders and panics when a property does
//! not hold, `seeds` are inputs to begin with. The properties are: nothing panics; what was decoded
//! is encoded and decoded to the same value; what a decoder allocates or writes stays within a
//! multiple of its input.
//!
//! `fuzz_targets` has a program for each module, in the layout of cargo-fuzz; `cargo xtask fuzz`
//! builds and runs them. They need the feature `libfuzzer`. The tests of this package call the
//! targets with their seeds, without it.
//!
//! An input that makes a target panic becomes a test of the decoder, and a seed.

pub mod bind_json;
pub mod component_gate;
pub mod envelope;
pub mod job_record;
pub mod location;
pub mod results_table;
pub mod seeds;
pub mod stored_entry;
pub mod value_json;

mod input;
mod memory;

/// A fuzz target.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// The name of its program.
    pub name: &'static str,
    /// Checks the properties for one input.
    pub run: fn(&[u8]),
    /// Inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All targets.
pub const TARGETS: [Target; 8] = [
    Target {
        name: "bind_json",
        run: bind_json::run,
        seeds: bind_json::seeds,
    },
    Target {
        name: "component_gate",
        run: component_gate::run,
        seeds: component_gate::seeds,
    },
    Target {
        name: "envelope",
        run: envelope::run,
        seeds: envelope::seeds,
    },
    Target {
        name: "job_record",
        run: job_record::run,
        seeds: job_record::seeds,
    },
    Target {
        name: "location",
        run: location::run,
        seeds: location::seeds,
    },
    Target {
        name: "results_table",
        run: results_table::run,
        seeds: results_table::seeds,
    },
    Target {
        name: "stored_entry",
        run: stored_entry::run,
        seeds: stored_entry::seeds,
    },
    Target {
        name: "value_json",
        run: value_json::run,
        seeds: value_json::seeds,
    },
];

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn no_seed_breaks_a_property_of_its_target() {
        for target in TARGETS {
            let seeds = (target.seeds)();
            assert!(!seeds.is_empty(), "{}", target.name);
            for seed in seeds {
                (target.run)(&seed);
                // A seed that ends early is where most targets begin.
                for end in 0..seed.len().min(64) {
                    (target.run)(seed.get(..end).unwrap_or_default());
                }
            }
        }
    }

    #[test]
    fn each_target_has_a_program() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz_targets");
        let mut programs: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .filter_map(|entry| entry.unwrap().file_name().into_string().ok())
            .collect();
        programs.sort();
        let names: Vec<String> = TARGETS
            .iter()
            .map(|target| format!("{}.rs", target.name))
            .collect();
        assert_eq!(programs, names);
    }
}

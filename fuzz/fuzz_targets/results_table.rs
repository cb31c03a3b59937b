//! The program that fuzzes `sortie_fuzz::results_table`.

#![no_main]

libfuzzer_sys::fuzz_target!(
    init: sortie_fuzz::seeds::write_if_asked("results_table"),
    |data: &[u8]| sortie_fuzz::results_table::run(data)
);

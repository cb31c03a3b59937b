//! The program that fuzzes `sortie_fuzz::value_json`.

#![no_main]

libfuzzer_sys::fuzz_target!(
    init: sortie_fuzz::seeds::write_if_asked("value_json"),
    |data: &[u8]| sortie_fuzz::value_json::run(data)
);

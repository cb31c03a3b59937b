//! The program that fuzzes `sortie_fuzz::bind_json`.

#![no_main]

libfuzzer_sys::fuzz_target!(
    init: sortie_fuzz::seeds::write_if_asked("bind_json"),
    |data: &[u8]| sortie_fuzz::bind_json::run(data)
);

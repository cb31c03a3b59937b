//! The program that fuzzes `sortie_fuzz::envelope`.

#![no_main]

libfuzzer_sys::fuzz_target!(
    init: sortie_fuzz::seeds::write_if_asked("envelope"),
    |data: &[u8]| sortie_fuzz::envelope::run(data)
);

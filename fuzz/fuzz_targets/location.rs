//! The program that fuzzes `sortie_fuzz::location`.

#![no_main]

libfuzzer_sys::fuzz_target!(
    init: sortie_fuzz::seeds::write_if_asked("location"),
    |data: &[u8]| sortie_fuzz::location::run(data)
);

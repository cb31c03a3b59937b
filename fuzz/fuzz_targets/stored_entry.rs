//! The program that fuzzes `sortie_fuzz::stored_entry`.

#![no_main]

libfuzzer_sys::fuzz_target!(
    init: sortie_fuzz::seeds::write_if_asked("stored_entry"),
    |data: &[u8]| sortie_fuzz::stored_entry::run(data)
);

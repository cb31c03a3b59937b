//! The program that fuzzes `sortie_fuzz::component_gate`.

#![no_main]

libfuzzer_sys::fuzz_target!(
    init: sortie_fuzz::seeds::write_if_asked("component_gate"),
    |data: &[u8]| sortie_fuzz::component_gate::run(data)
);

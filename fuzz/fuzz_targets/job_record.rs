//! The program that fuzzes `sortie_fuzz::job_record`.

#![no_main]

libfuzzer_sys::fuzz_target!(
    init: sortie_fuzz::seeds::write_if_asked("job_record"),
    |data: &[u8]| sortie_fuzz::job_record::run(data)
);

//! Damaged samples: cut off, overwritten, with blocks missing or repeated. Whatever comes out, it
//! must come out: a panic or an endless loop fails this test.

use std::error::Error;
use std::path::Path;

use pdf_text::document::read;

const MUTANTS: u64 = 200;
const SEED: u64 = 7;

/// xorshift64*: the same mutants on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(number).unwrap_or(0) % limit.max(1)
    }

    fn byte(&mut self) -> u8 {
        u8::try_from(self.below(256)).unwrap_or(0)
    }
}

fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    let at = random.below(bytes.len());
    let end = (at + 1 + random.below(4000)).min(bytes.len());
    match random.below(4) {
        0 => bytes.truncate(at),
        1 => drop(bytes.drain(at..end)),
        2 => {
            let block = bytes.get(at..end).unwrap_or_default().to_vec();
            drop(bytes.splice(at..at, block));
        }
        _ => {
            for _ in 0..=random.below(100) {
                let at = random.below(bytes.len());
                let new = random.byte();
                if let Some(byte) = bytes.get_mut(at) {
                    *byte = new;
                }
            }
        }
    }
}

#[test]
fn mutants_end_with_a_text_or_an_error() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples");
    let mut samples = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "pdf") {
            samples.push(path);
        }
    }
    samples.sort();
    let mut random = Random(SEED);
    for _ in 0..MUTANTS {
        let path = samples
            .get(random.below(samples.len()))
            .ok_or("no samples")?;
        let mut bytes = std::fs::read(path)?;
        mutate(&mut bytes, &mut random);
        let _ = read(bytes);
    }
    Ok(())
}

//! Writes the seeds of a target to a folder, for the fuzzer to begin with.

use std::path::Path;

use crate::TARGETS;

/// The variable that names the folder.
const FOLDER: &str = "SORTIE_FUZZ_SEEDS";

/// If a folder is named, write the target's seeds there and end the process. Called by each program
/// before it fuzzes.
pub fn write_if_asked(target: &str) {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    match write(target, Path::new(&folder)) {
        Ok(()) => std::process::exit(0),
        Err(error) => panic!("failed to write seeds to `{}`: {error}", folder.display()),
    }
}

fn write(target: &str, folder: &Path) -> std::io::Result<()> {
    let seeds = TARGETS
        .iter()
        .filter(|known| known.name == target)
        .flat_map(|known| (known.seeds)());
    for (number, seed) in seeds.enumerate() {
        std::fs::write(folder.join(format!("{number:03}")), seed)?;
    }
    Ok(())
}

/// The messages of the golden files of `sortie-protocol`, those among them that are refused.
pub(crate) fn golden_messages() -> Vec<Vec<u8>> {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol/tests/golden");
    ["v2", "later", "earlier", "refused"]
        .iter()
        .flat_map(|folder| files(&golden.join(folder)))
        .map(|text| from_hex(&text))
        .collect()
}

/// The files of a folder, in the order of their names.
fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder)
        .unwrap_or_else(|error| panic!("failed to list `{}`: {error}", folder.display()));
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
        .iter()
        .map(|path| std::fs::read_to_string(path).expect("golden files are text"))
        .collect()
}

/// The bytes of a golden file: hexadecimal digits, and notes behind `#`.
fn from_hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text
        .lines()
        .filter_map(|line| line.split('#').next())
        .flat_map(str::chars)
        .filter_map(|digit| digit.to_digit(16))
        .filter_map(|digit| u8::try_from(digit).ok())
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
        .collect()
}

/// Values that `cbor!` made, as bytes.
pub(crate) fn encoded(
    values: impl IntoIterator<Item = Result<ciborium::Value, ciborium::value::Error>>,
) -> Vec<Vec<u8>> {
    let encode = |value: Result<_, _>| {
        let mut bytes = Vec::new();
        let value = value.expect("a literal is a value");
        ciborium::into_writer(&value, &mut bytes).expect("memory takes every write");
        bytes
    };
    values.into_iter().map(encode).collect()
}

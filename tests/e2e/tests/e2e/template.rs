//! `sortie new`: the crate it makes is tested, built and run, as its README says.

use std::fs;
use std::process::Command;

use serde_json::json;
use sortie_harness::{Sortie, repository, task_runner};

const NAME: &str = "e2e-template";

/// A command that must succeed.
fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?}\n{}\n{said}",
        String::from_utf8_lossy(&output.stdout)
    );
}

#[test]
fn a_new_crate_builds_and_runs() {
    let folder = tempfile::tempdir().unwrap();
    let sdk = repository().join("guest-sdk");
    let sdk = ["--sdk".as_ref(), sdk.as_os_str()];
    let made = Sortie::new(["new", NAME])
        .args(sdk)
        .folder(folder.path())
        .run()
        .code(0)
        .says(&[NAME, "README.md"]);
    assert_eq!(made.stdout, "");
    let made = folder.path().join(NAME);
    // The versions that the other guests have: nothing is downloaded, and little is built.
    fs::copy(
        repository().join("tests/guests/Cargo.lock"),
        made.join("Cargo.lock"),
    )
    .unwrap();
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let target = repository().join("target/functions");
    succeed(
        Command::new(cargo)
            .arg("test")
            .current_dir(&made)
            .env("CARGO_TARGET_DIR", target),
    );
    succeed(Command::new(task_runner()).arg("guests").arg(&made));
    let component = repository()
        .join("target/components")
        .join(format!("{NAME}.wasm"));
    let map = Sortie::new([
        "map".as_ref(),
        component.as_os_str(),
        "count".as_ref(),
        "inputs/*.txt".as_ref(),
    ])
    .folder(&made);
    let record = map.run().code(0).value();
    assert_eq!(
        (&record["input"], &record["value"]),
        (
            &json!("inputs/tiger.txt"),
            &json!({ "lines": 4, "words": 20 })
        )
    );
    let greeting = Sortie::new([
        "call".as_ref(),
        component.as_os_str(),
        "greet".as_ref(),
        "Ada".as_ref(),
    ])
    .run()
    .code(0);
    assert_eq!(
        (greeting.value(), &*greeting.stderr),
        (json!("Hello, Ada!"), "greeting Ada\n")
    );
    fs::remove_file(component).unwrap();
}

#[test]
fn what_is_there_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("mine")).unwrap();
    fs::write(folder.path().join("mine/README.md"), "precious").unwrap();
    Sortie::new(["new", "mine"])
        .folder(folder.path())
        .run()
        .refused(&["`mine`", "already exists"]);
    assert_eq!(
        fs::read_to_string(folder.path().join("mine/README.md")).unwrap(),
        "precious"
    );
    assert_eq!(fs::read_dir(folder.path().join("mine")).unwrap().count(), 1);
}

#[test]
fn names_that_no_crate_can_have_are_refused() {
    for name in ["2fast", "a/b", "..", "fn", "naïve"] {
        Sortie::new(["new", name])
            .run()
            .refused(&[name, "crate's name"]);
    }
    Sortie::new(["new", "fine", "--sdk", "/no/such"])
        .run()
        .refused(&["--sdk", "/no/such", "guest-sdk"]);
}

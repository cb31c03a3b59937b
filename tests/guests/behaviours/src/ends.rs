//! Ends that are no answer.

/// Executes an `unreachable` instruction, without a word.
#[sortie_guest::function]
fn traps() {
    std::process::abort();
}

/// Panics with `message`.
#[sortie_guest::function]
#[expect(clippy::panic, reason = "this is its behaviour")]
fn panics(message: String) {
    panic!("{message}");
}

/// Ends its process with `code`, as a program does and a function must not.
#[sortie_guest::function]
fn exits(code: i32) {
    std::process::exit(code);
}

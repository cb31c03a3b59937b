//! The manifest on the book's page on this library names what this library is built with. That the
//! program on the page compiles is a doctest (see `lib.rs`).

const PAGE: &str = include_str!("../../../docs/book/client.md");
const WORKSPACE: &str = include_str!("../../../Cargo.toml");

/// What stands in the first quotes.
fn quoted(line: &str) -> &str {
    line.split('"').nth(1).unwrap()
}

#[test]
fn the_manifest_of_the_book_names_the_versions_that_are_built_here() {
    let manifest = PAGE.split("```toml\n").nth(1).unwrap();
    let manifest = manifest.split("```").next().unwrap();
    let dependencies = manifest.split("[dependencies]\n").nth(1).unwrap();
    let mut names = Vec::new();
    for line in dependencies.lines() {
        let name = line.split(" = ").next().unwrap();
        names.push(name);
        if name == "sortie" {
            assert!(
                env!("CARGO_PKG_VERSION").starts_with(quoted(line)),
                "{line}"
            );
            continue;
        }
        let start = format!("{name} = ");
        let ours = WORKSPACE.lines().find(|ours| ours.starts_with(&start));
        assert_eq!(quoted(line), quoted(ours.unwrap()), "{line}");
    }
    assert_eq!(names, ["sortie", "serde", "tokio"]);
}

//! `sortie new`: creates a crate with example functions.
//!
//! The files are those of `cli/template`, with the crate's name and the guest SDK's path filled in.
//! Existing files are never changed.

use std::fs;
use std::path::{Path, PathBuf};

use sortie_frontend::settings::Environment;

use crate::arguments::new::New;
use crate::ending::{Ending, Error};
use crate::terminal;

/// The template's files and their paths in the new crate. The manifest has another name here, so
/// that cargo does not treat the template as a package.
const FILES: [(&str, &str); 5] = [
    ("Cargo.toml", include_str!("../../template/manifest.toml")),
    ("src/lib.rs", include_str!("../../template/src/lib.rs")),
    ("README.md", include_str!("../../template/readme.txt")),
    (
        "inputs/tiger.txt",
        include_str!("../../template/inputs/tiger.txt"),
    ),
    (".gitignore", include_str!("../../template/gitignore")),
];

/// The SDK's path if this program runs on the machine that built it.
const SDK: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../guest-sdk");
/// The longest name: the limit of crates.io.
const NAME_BYTES_MAX: usize = 64;
/// Names that cargo or the compiler reserve.
const RESERVED: [&str; 58] = [
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "build",
    "const",
    "continue",
    "core",
    "crate",
    "deps",
    "do",
    "dyn",
    "else",
    "enum",
    "examples",
    "extern",
    "false",
    "final",
    "fn",
    "for",
    "gen",
    "if",
    "impl",
    "in",
    "incremental",
    "let",
    "loop",
    "macro",
    "match",
    "mod",
    "move",
    "mut",
    "override",
    "priv",
    "proc_macro",
    "pub",
    "ref",
    "return",
    "self",
    "sortie-guest",
    "static",
    "std",
    "struct",
    "super",
    "test",
    "trait",
    "true",
    "try",
    "type",
    "typeof",
    "unsafe",
    "unsized",
    "use",
    "while",
];

/// Run the command.
pub(crate) fn run(arguments: &New, environment: &Environment) -> Result<Ending, Error> {
    check_name(&arguments.name).map_err(Error::Usage)?;
    let sdk = sdk(arguments.sdk.as_deref(), &environment.folder).map_err(Error::Usage)?;
    let folder = environment.folder.join(&arguments.name);
    let failed = |what: &Path, error: std::io::Error| {
        Error::Usage(format!("failed to create `{}`: {error}", what.display()))
    };
    match fs::create_dir(&folder) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            return Err(Error::Usage(format!(
                "`{}` already exists; choose another name",
                arguments.name
            )));
        }
        Err(error) => return Err(failed(&folder, error)),
    }
    for (name, text) in FILES {
        let path = folder.join(name);
        let text = text
            .replace("{{name}}", &arguments.name)
            .replace("{{sdk}}", &sdk.dependency())
            .replace("{{build}}", &sdk.build(&folder));
        let text = text.replace("{{component}}", &sdk.component(&arguments.name));
        path.parent()
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::write(&path, text))
            .map_err(|error| failed(&path, error))?;
    }
    terminal::say(&format!(
        "created `{0}`; {0}/README.md says how to test, build and run it",
        arguments.name
    ));
    Ok(Ending::Completed)
}

fn check_name(name: &str) -> Result<(), String> {
    let said = |what: &str| format!("`{name}` cannot be a crate's name: {what}");
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return Err(said("it must start with a letter"));
    }
    if !name
        .chars()
        .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    {
        return Err(said("only letters, digits, - and _ are allowed"));
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(said("it is longer than 64 characters"));
    }
    if RESERVED.contains(&name) {
        return Err(said("it is a reserved name"));
    }
    Ok(())
}

/// Where the new crate finds the SDK.
enum Sdk {
    Folder(PathBuf),
    Published,
}

fn sdk(named: Option<&Path>, folder: &Path) -> Result<Sdk, String> {
    let is_sdk = |path: &Path| path.join("Cargo.toml").is_file();
    match named {
        Some(path) if is_sdk(&folder.join(path)) => {
            let path = folder
                .join(path)
                .canonicalize()
                .map_err(|error| format!("--sdk: `{}`: {error}", path.display()))?;
            Ok(Sdk::Folder(path))
        }
        Some(path) => Err(format!(
            "--sdk: there is no crate in `{}`; name the folder guest-sdk of a checkout of Sortie",
            path.display()
        )),
        None => Ok(Path::new(SDK)
            .canonicalize()
            .ok()
            .filter(|path| is_sdk(path))
            .map_or(Sdk::Published, Sdk::Folder)),
    }
}

impl Sdk {
    /// The right-hand side of the dependency.
    fn dependency(&self) -> String {
        match self {
            // A TOML string is escaped as a JSON string is.
            Self::Folder(path) => format!(
                "{{ path = {} }}",
                serde_json::Value::from(path.display().to_string())
            ),
            Self::Published => format!("\"{}\"", env!("CARGO_PKG_VERSION")),
        }
    }

    /// The commands that build the component.
    fn build(&self, folder: &Path) -> String {
        match self.checkout() {
            Some(checkout) => format!(
                "(cd '{}' && cargo xtask guests '{}')",
                checkout.display(),
                folder.display()
            ),
            None => "cargo build --release --target wasm32-wasip2".into(),
        }
    }

    /// Path of the built component.
    fn component(&self, name: &str) -> String {
        match self.checkout() {
            Some(checkout) => format!(
                "{}/target/components/{}.wasm",
                checkout.display(),
                name.replace('_', "-")
            ),
            None => format!(
                "target/wasm32-wasip2/release/{}.wasm",
                name.replace('-', "_")
            ),
        }
    }

    /// The checkout that contains the SDK, if it has `xtask`.
    fn checkout(&self) -> Option<&Path> {
        match self {
            Self::Folder(path) => path
                .parent()
                .filter(|parent| parent.join("xtask/Cargo.toml").is_file()),
            Self::Published => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_cargo_refuses_are_refused() {
        for name in ["my-function", "a", "Count_2"] {
            assert_eq!(check_name(name), Ok(()), "{name}");
        }
        for name in [
            "",
            "2x",
            "-x",
            "a b",
            "a/b",
            "..",
            "größe",
            "fn",
            "test",
            &"x".repeat(65),
        ] {
            assert!(check_name(name).is_err(), "{name}");
        }
    }

    #[test]
    fn the_template_has_no_blank_left_unfilled() {
        for (name, text) in FILES {
            let blanks = text.matches("{{").count();
            let known: usize = ["{{name}}", "{{sdk}}", "{{build}}", "{{component}}"]
                .iter()
                .map(|blank| text.matches(blank).count())
                .sum();
            assert_eq!(blanks, known, "{name}");
        }
    }
}

//! Components: from bytes to functions that can be called.
//!
//! Loading is the gate: what is not a Sortie component, or asks for more than we provide, is
//! refused here with one line that says what it is and what to do, and never becomes a trap in the
//! middle of a job. Precompiled code is refused: it cannot be checked.
//!
//! Compiling hostile bytes can take long (bounded by [`BYTES_MAX`]); that is outside of what
//! wasmtime defends against.

use std::sync::Arc;

use sortie_protocol::{Digest, Limits, Signature};

use crate::artifacts::Artifacts;
use crate::engine::Engine;
use crate::sandbox::{self, Prepared};

/// The largest component that is loaded: twice what a Python component takes.
pub const BYTES_MAX: usize = 128 << 20;
/// The most functions a component may describe.
pub const FUNCTIONS_MAX: usize = 10_000;

/// A component that is ready to run. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Component {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    digest: Digest,
    size: usize,
    imports: Vec<String>,
    signatures: Vec<Signature>,
    prepared: Prepared,
    compiled: Compiled,
}

/// Where the machine code came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compiled {
    /// It was compiled just now.
    Now,
    /// It was compiled by an earlier start.
    Before,
}

/// Why bytes are not a component that can run here. Each text continues the name of the file, and
/// says what to do.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The bytes are something else.
    #[error(
        "is not a WebAssembly component ({0}); name the .wasm file that the guest toolchain built"
    )]
    NotWasm(&'static str),
    /// A core module.
    #[error(
        "is a core WebAssembly module, not a component; build it for the target wasm32-wasip2, or wrap it with `wasm-tools component new`"
    )]
    CoreModule,
    /// Machine code.
    #[error(
        "is already compiled to machine code, which cannot be checked; give the .wasm component it was made from"
    )]
    Precompiled,
    /// Too many bytes.
    #[error(
        "is a component of {size} bytes; the most that is loaded is {BYTES_MAX} bytes, so build it with optimisation and without debug information"
    )]
    TooLarge {
        /// Its size.
        size: usize,
    },
    /// It does not validate.
    #[error("is not a valid WebAssembly component, perhaps cut short: {0}")]
    Invalid(String),
    /// It asks for something we do not have.
    #[error("needs {}, which Sortie does not provide; functions have no files, sockets or other authority beyond their arguments", .0.join(", "))]
    Imports(Vec<String>),
    /// It does not export the contract.
    #[error(
        "does not export `sortie:task/handler@{}`, so it has no Sortie functions; write them with the sortie-guest crate",
        sortie_protocol::CONTRACT_VERSION
    )]
    NoHandler,
    /// It does not describe itself.
    #[error("cannot describe its functions: {0}")]
    Describe(String),
}

impl Component {
    /// Check, compile and describe a component. `artifacts` keeps the compiled form, if given.
    ///
    /// Compiling takes seconds for a large component and uses every core; call it where that does
    /// not hurt.
    ///
    /// # Errors
    /// What the bytes are instead, and what to do about it.
    pub async fn load(
        engine: &Engine,
        bytes: &[u8],
        artifacts: Option<&Artifacts>,
    ) -> Result<Self, LoadError> {
        recognise(bytes)?;
        let digest = Digest::of(bytes);
        let (component, compiled) =
            match artifacts.and_then(|artifacts| artifacts.load(&engine.inner, digest)) {
                Some(component) => (component, Compiled::Before),
                None => (compile(engine, bytes, digest, artifacts)?, Compiled::Now),
            };
        let imports = imports(engine, &component);
        let prepared = sandbox::prepare(engine, &component)?;
        let signatures = sandbox::describe(engine, &prepared)
            .await
            .map_err(LoadError::Describe)?;
        let shared = Shared {
            digest,
            size: bytes.len(),
            imports,
            signatures,
            prepared,
            compiled,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// The component's name: the SHA-256 of its bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.shared.digest
    }

    /// The component's size in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.shared.size
    }

    /// The interfaces it imports.
    #[must_use]
    pub fn imports(&self) -> &[String] {
        &self.shared.imports
    }

    /// Its functions.
    #[must_use]
    pub fn signatures(&self) -> &[Signature] {
        &self.shared.signatures
    }

    /// Whether loading had to compile.
    #[must_use]
    pub fn compiled(&self) -> Compiled {
        self.shared.compiled
    }

    pub(crate) fn prepared(&self) -> &Prepared {
        &self.shared.prepared
    }
}

/// Tell a component from what people give by mistake.
fn recognise(bytes: &[u8]) -> Result<(), LoadError> {
    if bytes.len() > BYTES_MAX {
        return Err(LoadError::TooLarge { size: bytes.len() });
    }
    if wasmtime::Engine::detect_precompiled(bytes).is_some() {
        return Err(LoadError::Precompiled);
    }
    match bytes {
        [] => Err(LoadError::NotWasm("the file is empty")),
        [b'\0', b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => Ok(()),
        [b'\0', b'a', b's', b'm', 1, 0, 0, 0, ..] => Err(LoadError::CoreModule),
        [b'\0', b'a', b's', b'm', ..] => Err(LoadError::NotWasm(
            "an unknown version of the binary format",
        )),
        [0x7f, b'E', b'L', b'F', ..] => Err(LoadError::NotWasm("a native executable or library")),
        _ if std::str::from_utf8(bytes.get(..64).unwrap_or(bytes)).is_ok() => {
            Err(LoadError::NotWasm("the file is text"))
        }
        _ => Err(LoadError::NotWasm(
            "the first bytes are not those of WebAssembly",
        )),
    }
}

fn compile(
    engine: &Engine,
    bytes: &[u8],
    digest: Digest,
    artifacts: Option<&Artifacts>,
) -> Result<wasmtime::component::Component, LoadError> {
    let component = wasmtime::component::Component::from_binary(&engine.inner, bytes)
        .map_err(|error| LoadError::Invalid(sandbox::one_line(&error)))?;
    if let Some(artifacts) = artifacts {
        artifacts.store(&engine.inner, digest, &component);
    }
    Ok(component)
}

fn imports(engine: &Engine, component: &wasmtime::component::Component) -> Vec<String> {
    component
        .component_type()
        .imports(&engine.inner)
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// A description that a guest gave, checked.
pub(crate) fn check_description(signatures: &[Signature]) -> Result<(), String> {
    if signatures.len() > FUNCTIONS_MAX {
        return Err(format!(
            "it has {} functions; at most {FUNCTIONS_MAX} are taken",
            signatures.len()
        ));
    }
    let mut names = std::collections::BTreeSet::new();
    match signatures
        .iter()
        .find(|signature| !names.insert(&signature.name))
    {
        Some(twice) => Err(format!("it has two functions named `{}`", twice.name)),
        None => Ok(()),
    }
}

/// The limits under which a component describes itself.
pub(crate) fn describe_limits() -> Limits {
    Limits {
        wall_time: std::time::Duration::from_secs(10),
        cpu_time: std::time::Duration::from_secs(5),
        result: sortie_protocol::ByteSize::mib(4),
        ..Limits::default()
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::engine::{Paging, Settings};

    async fn refusal(bytes: &[u8]) -> String {
        let engine = Engine::new(Settings {
            instances: NonZeroU32::MIN,
            paging: Paging::Discard,
        })
        .unwrap();
        Component::load(&engine, bytes, None)
            .await
            .unwrap_err()
            .to_string()
    }

    #[tokio::test]
    async fn what_is_not_a_component_is_named() {
        let engine = wasmtime::Engine::default();
        let compiled = engine
            .precompile_component(&wat::parse_str("(component)").unwrap())
            .unwrap();
        let core = wat::parse_str("(module)").unwrap();
        for (bytes, part) in [
            (&b"# Read me\n"[..], "the file is text"),
            (b"", "the file is empty"),
            (b"\x00asm\x63\x00\x00\x00", "unknown version"),
            (b"\xff\xfe\xfd", "first bytes"),
            (&core, "a core WebAssembly module"),
            (&compiled, "already compiled"),
        ] {
            let text = refusal(bytes).await;
            assert!(text.contains(part), "{text}");
        }
    }

    #[tokio::test]
    async fn a_component_that_was_cut_short_is_refused_in_one_line() {
        let wasm = wat::parse_str("(component (core module (func (export \"f\"))))").unwrap();
        for length in 9..wasm.len() {
            // Some lengths end between two sections: then it is a component, if an empty one.
            let text = refusal(&wasm[..length]).await;
            assert!(
                !text.contains('\n')
                    && (text.contains("cut short") || text.contains("no Sortie functions")),
                "{length}: {text}"
            );
        }
    }

    #[tokio::test]
    async fn an_import_that_is_not_provided_is_named() {
        let wasm = wat::parse_str("(component (import \"wasi:http/types@0.2.0\" (instance)) (import \"acme:db/query@1.0.0\" (instance)))")
            .unwrap();
        let text = refusal(&wasm).await;
        assert!(
            text.contains("`wasi:http/types@0.2.0`, `acme:db/query@1.0.0`"),
            "{text}"
        );
    }

    #[tokio::test]
    async fn a_component_without_the_contract_is_refused() {
        let text = refusal(&wat::parse_str("(component)").unwrap()).await;
        assert!(text.contains("sortie:task/handler"), "{text}");
    }
}

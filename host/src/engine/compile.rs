//! Compiles components: from bytes to machine code, or one line that says why not.
//!
//! What people give by mistake (text, executables, core modules, machine code) is told apart by its
//! first bytes. Precompiled code is refused: it cannot be checked. What the code may import and
//! must export is checked when it is linked, by `crate::sandbox`.
//!
//! Compiling hostile bytes can take long; that is outside of what wasmtime defends against. It is
//! bounded by [`BYTES_MAX`] and by what [`super::structure`] looks at, and never happens on a
//! thread on which functions compute.

use sortie_objects::shortage::has_shortage;
use sortie_protocol::Digest;
use sortie_protocol::outcome::cut;
use wasmtime::component::Component;

use super::Engine;
use super::artifacts::Artifacts;

/// The largest component that is loaded: twice what a Python component takes.
pub const BYTES_MAX: usize = 128 << 20;
/// The stack of a thread that compiles. It is address space; what is not used costs nothing.
pub(super) const STACK_BYTES: usize = 256 << 20;
/// What is kept of an error of wasmtime's: enough for the position and the reason.
const ERROR_BYTES_MAX: usize = 500;

/// The machine code of a component, not linked yet.
#[derive(Clone)]
pub(crate) struct Code {
    pub(crate) component: Component,
    pub(crate) origin: Origin,
    /// The names of the interfaces that it imports.
    pub(crate) imports: Vec<String>,
}

/// Where machine code came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// It was compiled just now.
    Compiled,
    /// It was compiled by an earlier start, and is on disk.
    Artifact,
}

/// Why bytes are not a component that can be compiled. Each text continues the name of the file,
/// and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The bytes are something else.
    #[error(
        "is not a WebAssembly component ({0}); name the .wasm file that the guest toolchain built"
    )]
    NotWasm(&'static str),
    /// A core module.
    #[error(
        "is a core WebAssembly module, not a component; build it for the target wasm32-wasip2, or \
         wrap it with `wasm-tools component new`"
    )]
    CoreModule,
    /// Machine code.
    #[error(
        "is already compiled to machine code, which cannot be checked; give the .wasm component it \
         was made from"
    )]
    Precompiled,
    /// Too many bytes.
    #[error(
        "is a component of {size} bytes; the most that is loaded is {BYTES_MAX} bytes, so build it \
         with optimisation and without debug information"
    )]
    TooLarge {
        /// Its size.
        size: usize,
    },
    /// It does not validate.
    #[error("is not a valid WebAssembly component, perhaps cut short: {0}")]
    Invalid(String),
    /// A part of it is larger than what is compiled.
    #[error(
        "has {found} {what}; at most {max} are compiled, so build it with optimisation, or part it"
    )]
    TooComplex {
        /// Which part.
        what: &'static str,
        /// How large it is.
        found: u64,
        /// The most that is taken.
        max: u64,
    },
    /// Compiling it takes too much.
    #[error(
        "takes more than {limit} of {what} to compile, so build it with optimisation, or part its \
         largest functions"
    )]
    Costly {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: String,
    },
    /// The compiler failed on it.
    #[error("cannot be compiled, because the compiler failed on it: {0}")]
    Failed(String),
    /// This machine has too little of something; another, or this one later, may compile it.
    #[error("cannot be compiled on this machine now: {0}")]
    Shortage(String),
}

impl Error {
    pub(super) fn costly(what: &'static str, limit: String) -> Self {
        Self::Costly { what, limit }
    }
}

/// The machine code of a component that was compiled before, if it is in `artifacts`.
pub(crate) fn stored(
    engine: &Engine,
    bytes: &[u8],
    digest: Digest,
    artifacts: Option<&Artifacts>,
) -> Result<Option<Code>, Error> {
    recognise(bytes)?;
    let stored = artifacts.and_then(|artifacts| artifacts.load(&engine.inner, digest));
    Ok(stored.map(|component| code(&engine.inner, component, Origin::Artifact)))
}

/// Compile a component whose structure was looked at, and keep it in `artifacts`.
///
/// Takes seconds for a large component, so it has a thread of its own here, or a process
/// (`super::apart`). A thread has a
/// stack for types that are nested as deep as [`super::structure::TYPE_BYTES_MAX`] allows. Dropping
/// the future does not end the thread.
pub(crate) async fn compile(
    engine: &Engine,
    bytes: &[u8],
    digest: Digest,
    artifacts: Option<&Artifacts>,
) -> Result<Code, Error> {
    let (engine, bytes, artifacts) = (engine.inner.clone(), bytes.to_vec(), artifacts.cloned());
    let (told, compiled) = tokio::sync::oneshot::channel();
    let compiling = move || {
        let component = Component::from_binary(&engine, &bytes).map_err(|error| refused(&error));
        let component = component.map(|component| {
            if let Some(artifacts) = artifacts {
                artifacts.store(&engine, digest, &component);
            }
            code(&engine, component, Origin::Compiled)
        });
        // Nobody waits for it any more: it is in the cache for the next.
        let _ = told.send(component);
    };
    std::thread::Builder::new()
        .name("sortie-compile".into())
        .stack_size(STACK_BYTES)
        .spawn(compiling)
        .map_err(|error| Error::Shortage(format!("no thread to compile it: {error}")))?;
    let gone = |_| Error::Shortage("the thread that compiled it is gone".into());
    compiled.await.map_err(gone)?
}

pub(super) fn code(engine: &wasmtime::Engine, component: Component, origin: Origin) -> Code {
    let imports = component.component_type();
    let imports = imports.imports(engine);
    let imports = imports.map(|(name, _)| name.to_owned()).collect();
    Code {
        component,
        origin,
        imports,
    }
}

/// Why wasmtime does not compile it: what it is, or what this machine has too little of.
fn refused(error: &wasmtime::Error) -> Error {
    let text = one_line(error);
    if has_shortage(error.chain()) {
        Error::Shortage(text)
    } else {
        Error::Invalid(text)
    }
}

/// Tell a component from what people give by mistake.
fn recognise(bytes: &[u8]) -> Result<(), Error> {
    if bytes.len() > BYTES_MAX {
        return Err(Error::TooLarge { size: bytes.len() });
    }
    if wasmtime::Engine::detect_precompiled(bytes).is_some() {
        return Err(Error::Precompiled);
    }
    match bytes {
        [] => Err(Error::NotWasm("the file is empty")),
        [b'\0', b'a', b's', b'm', 0x0d, 0, 1, 0, ..] => Ok(()),
        [b'\0', b'a', b's', b'm', 1, 0, 0, 0, ..] => Err(Error::CoreModule),
        [b'\0', b'a', b's', b'm', ..] => {
            Err(Error::NotWasm("an unknown version of the binary format"))
        }
        [0x7f, b'E', b'L', b'F', ..] => Err(Error::NotWasm("a native executable or library")),
        _ if std::str::from_utf8(bytes.get(..64).unwrap_or(bytes)).is_ok() => {
            Err(Error::NotWasm("the file is text"))
        }
        _ => Err(Error::NotWasm(
            "the first bytes are not those of WebAssembly",
        )),
    }
}

/// An error of wasmtime's and its causes, in one line.
pub(crate) fn one_line(error: &wasmtime::Error) -> String {
    let text = error
        .chain()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ");
    cut(
        text.split_whitespace().collect::<Vec<_>>().join(" "),
        ERROR_BYTES_MAX,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_a_component_is_named() {
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
            let text = recognise(bytes).unwrap_err().to_string();
            assert!(text.contains(part), "{text}");
        }
    }
}

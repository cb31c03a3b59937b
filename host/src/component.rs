//! Loads components: compiles, links and describes them; errors are one line with the reason.
//!
//! Bytes that are not a Sortie component, or that import an interface that Sortie does not provide,
//! are refused here, with one line that says what they are and what to do, instead of trapping in
//! the middle of a job. Checks that depend on a job are made for each job, with
//! [`Component::check_grants`]: a component may import an interface that only some jobs may use.

use std::sync::Arc;

use sortie_protocol::grants::{self, Need, Ungranted};
use sortie_protocol::{Digest, Grants, Signature};

use crate::engine::apart::Compiler;
use crate::engine::artifacts::Artifacts;
pub use crate::engine::compile::{BYTES_MAX, Origin};
use crate::engine::{Engine, compile, structure};
use crate::sandbox::{self, Linked};
pub use crate::sandbox::{DescribeError, FUNCTIONS_MAX};

/// The interface that makes subtasks.
const SUBTASKS: &str = "sortie:task/tasks";

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
    makes_subtasks: bool,
    signatures: Arc<[Signature]>,
    linked: Linked,
    origin: Origin,
}

/// Why bytes are not a component that can run here. Each text continues the name of the file, and
/// says what to do.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// It does not compile.
    #[error(transparent)]
    Compile(#[from] compile::Error),
    /// It imports what Sortie does not provide, or does not export the contract.
    #[error(transparent)]
    Link(#[from] sandbox::LinkError),
    /// It does not describe itself.
    #[error("cannot describe its functions: {0}")]
    Describe(DescribeError),
}

impl LoadError {
    /// Whether it says more about this machine than about the component.
    #[must_use]
    pub fn is_shortage(&self) -> bool {
        match self {
            Self::Compile(compile::Error::Shortage(_)) => true,
            Self::Describe(error) => error.is_shortage,
            Self::Compile(_) | Self::Link(_) => false,
        }
    }
}

impl Component {
    /// Check, compile, link and describe a component. `artifacts` keeps the compiled form, if
    /// given.
    ///
    /// Its structure and what it imports and exports are looked at first. Compiling takes seconds
    /// for a large component and uses every core, on threads of its own.
    ///
    /// # Errors
    /// What the bytes are instead, and what to do about it.
    pub async fn load(
        engine: &Engine,
        bytes: &[u8],
        artifacts: Option<&Artifacts>,
    ) -> Result<Self, LoadError> {
        Self::load_by(&Compiler::Here, engine, bytes, artifacts).await
    }

    /// As [`Component::load`], with this compiler. Call it within a tokio runtime. Cancel safe: a
    /// compiler that is a process is killed.
    ///
    /// # Errors
    /// As [`Component::load`].
    pub async fn load_by(
        compiler: &Compiler,
        engine: &Engine,
        bytes: &[u8],
        artifacts: Option<&Artifacts>,
    ) -> Result<Self, LoadError> {
        let digest = Digest::of(bytes);
        let code = match compile::stored(engine, bytes, digest, artifacts)? {
            Some(code) => code,
            None => {
                let structure = structure::look(bytes)?;
                sandbox::check(&structure)?;
                match compiler {
                    Compiler::Here => compile::compile(engine, bytes, digest, artifacts).await?,
                    Compiler::Apart(apart) => {
                        apart.compile(engine, bytes, digest, artifacts).await?
                    }
                }
            }
        };
        let linked = sandbox::link(engine, &code)?;
        let signatures = sandbox::describe(engine, &linked)
            .await
            .map_err(LoadError::Describe)?;
        let mut interfaces = code.imports.iter().map(|import| import.split('@').next());
        let makes_subtasks = interfaces.any(|interface| interface == Some(SUBTASKS));
        let shared = Shared {
            digest,
            size: bytes.len(),
            imports: code.imports,
            makes_subtasks,
            signatures: signatures.into(),
            linked,
            origin: code.origin,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// The component's digest: the SHA-256 of its bytes.
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

    /// Its functions, for longer than it is held.
    pub(crate) fn shared_signatures(&self) -> Arc<[Signature]> {
        self.shared.signatures.clone()
    }

    /// Whether its functions may make subtasks.
    pub(crate) fn makes_subtasks(&self) -> bool {
        self.shared.makes_subtasks
    }

    /// Whether loading had to compile.
    #[must_use]
    pub fn origin(&self) -> Origin {
        self.shared.origin
    }

    /// Its imports that need a grant.
    #[must_use]
    pub fn needs(&self) -> &[Need] {
        self.shared.linked.needs()
    }

    /// Whether tasks with these grants may run this component: none of its imports needs a grant
    /// that is not among them.
    ///
    /// # Errors
    /// The imports that need a grant, with the grant.
    pub fn check_grants(&self, grants: &Grants) -> Result<(), Ungranted> {
        grants::check(self.needs(), grants)
    }

    pub(crate) fn linked(&self) -> &Linked {
        &self.shared.linked
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;
    use crate::engine::{Paging, Settings};

    async fn refusal(bytes: &[u8]) -> String {
        let settings = Settings::of(NonZeroU32::MIN, Paging::Discard);
        let engine = Engine::new(settings).unwrap();
        Component::load(&engine, bytes, None)
            .await
            .unwrap_err()
            .to_string()
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
        let wasm = wat::parse_str(
            "(component (import \"wasi:http/types@0.2.0\" (instance)) \
             (import \"acme:db/query@1.0.0\" (instance)))",
        )
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

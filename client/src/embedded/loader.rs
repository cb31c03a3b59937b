//! Compiles and describes components in the client's process.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;

use sortie_host::artifacts::{self, Artifacts};
use sortie_host::engine::{self, Engine};
use sortie_host::{Setup, Worker, setup};
use tokio::runtime::Handle;
use tokio::sync::OnceCell;

/// An embedded client could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// There is no tokio runtime to run on.
    #[error("an embedded client needs a tokio runtime: call it from async code")]
    NoRuntime,
    /// The WebAssembly engine.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// The cache folder.
    #[error(transparent)]
    Cache(#[from] artifacts::Error),
    /// Blocks of inputs have too much of the memory.
    #[error(transparent)]
    InputMemory(setup::Error),
    /// The computing threads.
    #[error("failed to start the worker")]
    Worker(#[source] std::io::Error),
}

impl From<setup::Error> for StartError {
    fn from(error: setup::Error) -> Self {
        match error {
            setup::Error::Engine(error) => Self::Engine(error),
            setup::Error::Cache(error) => Self::Cache(error),
            error @ setup::Error::InputMemory { .. } => Self::InputMemory(error),
        }
    }
}

/// The embedded parts of a client.
#[derive(Debug)]
pub(crate) struct Embedded {
    pub(crate) loader: ComponentLoader,
    pub(crate) worker: Option<Worker>,
}

/// Compiles and describes components. Created lazily: most operations of a connected client do not
/// need it.
#[derive(Debug)]
pub(crate) struct ComponentLoader {
    cache: Option<PathBuf>,
    tools: OnceCell<Tools>,
}

/// What compiles and describes components.
#[derive(Debug, Clone)]
pub(crate) struct Tools {
    pub(crate) engine: Arc<Engine>,
    pub(crate) artifacts: Option<Artifacts>,
}

/// Why the tools could not be created.
pub(crate) enum NoTools {
    Start(StartError),
    ShuttingDown,
}

impl ComponentLoader {
    /// One that has its tools.
    pub(crate) fn equipped(engine: Arc<Engine>, artifacts: Option<Artifacts>) -> Self {
        Self {
            cache: None,
            tools: OnceCell::new_with(Some(Tools { engine, artifacts })),
        }
    }

    /// One whose tools are made later. Compiled components are kept in `cache`.
    pub(crate) fn empty(cache: Option<PathBuf>) -> Self {
        Self {
            cache,
            tools: OnceCell::new(),
        }
    }

    pub(crate) async fn tools(&self, io: &Handle) -> Result<Tools, NoTools> {
        let tools = self.tools.get_or_try_init(|| async {
            let (cache, io) = (self.cache.clone(), io.clone());
            tokio::task::spawn_blocking(move || make(cache, io))
                .await
                .map_err(|_| NoTools::ShuttingDown)?
                .map_err(NoTools::Start)
        });
        tools.await.cloned()
    }
}

/// A host that runs nothing: one instance is enough to ask a component for its functions.
fn make(cache: Option<PathBuf>, io: Handle) -> Result<Tools, StartError> {
    let setup = Setup {
        concurrency: Some(NonZeroUsize::MIN),
        cache,
        ..Setup::default()
    };
    let prepared = setup.prepare(io)?;
    Ok(Tools {
        engine: prepared.host.engine,
        artifacts: prepared.artifacts,
    })
}

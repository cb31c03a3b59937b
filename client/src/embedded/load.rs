//! Loads components from files or bytes, and describes their functions.

use std::path::{Path, PathBuf};

use crate::api::client::Client;
use crate::api::function::Component;
use crate::embedded::loader::{NoTools, StartError, Tools};

/// A component could not be loaded from a file.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("failed to read the component `{path}`")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// The file is not a component that can run here.
    #[error("`{path}` {source}", path = path.display())]
    Refused {
        /// The file.
        path: PathBuf,
        /// What the file is instead, and what to do.
        source: sortie_host::LoadError,
    },
    /// The broker did not accept it.
    #[error("the broker did not accept the component")]
    Broker(#[from] sortie_broker::Error),
    /// This client has no host to load the component with.
    #[error("this client has no host to load components with")]
    NoHost,
    /// The host for loading components could not be started.
    #[error("failed to start the component loader")]
    Start(#[from] StartError),
    /// The process is ending.
    #[error("the runtime is shutting down")]
    ShuttingDown,
}

impl Client {
    /// Load a component from a file: read, check, compile and describe it. A component that was
    /// compiled before is taken from the cache. Loading also stores it at the broker, where workers
    /// fetch it.
    ///
    /// # Errors
    /// When the file cannot be read, or is not a component that can run here.
    pub async fn load(&self, path: impl AsRef<Path>) -> Result<Component, LoadError> {
        let path = path.as_ref().to_owned();
        let bytes = tokio::fs::read(&path)
            .await
            .map_err(|source| LoadError::Read {
                path: path.clone(),
                source,
            })?;
        self.load_bytes(bytes).await.map_err(|error| match error {
            LoadError::Refused { source, .. } => LoadError::Refused { path, source },
            other => other,
        })
    }

    /// Load a component from its bytes.
    ///
    /// # Errors
    /// When the bytes are not a component that can run here.
    pub async fn load_bytes(&self, bytes: Vec<u8>) -> Result<Component, LoadError> {
        let Some(embedded) = &self.shared.embedded else {
            return Err(LoadError::NoHost);
        };
        let tools = embedded.loader.tools(&self.shared.runtime).await;
        let Tools { engine, artifacts } = tools.map_err(|error| match error {
            NoTools::Start(error) => LoadError::Start(error),
            NoTools::ShuttingDown => LoadError::ShuttingDown,
        })?;
        let runtime = self.shared.runtime.clone();
        // Compiling computes for seconds: not on a thread that others' I/O needs.
        let loading = self.shared.runtime.spawn_blocking(move || {
            let loaded = runtime.block_on(sortie_host::Component::load(
                &engine,
                &bytes,
                artifacts.as_ref(),
            ));
            loaded.map(|component| (component, bytes))
        });
        let (component, bytes) = loading
            .await
            .map_err(|_| LoadError::ShuttingDown)?
            .map_err(|source| LoadError::Refused {
                path: PathBuf::from("component"),
                source,
            })?;
        self.shared
            .broker
            .put_component(component.digest(), bytes.into())
            .await?;
        if let Some(worker) = &embedded.worker {
            worker.add_component(component.clone());
        }
        Ok(Component {
            digest: component.digest(),
            signatures: component.signatures().into(),
            size: component.size(),
            imports: component.imports().into(),
            needs: component.needs().into(),
        })
    }
}

//! Tasks that other programs find by a name.

use async_trait::async_trait;
use sortie_protocol::{Published, TaskName};

use super::values::Error;

/// The names of a tenant's tasks. They are kept as long as outcomes are, from when they were
/// published.
#[async_trait]
pub trait Directory: std::fmt::Debug + Send + Sync + 'static {
    /// Have others find a task by its name, in place of the task that had the name before.
    async fn publish_name(&self, published: Published) -> Result<(), Error>;

    /// The task that was published with this name.
    async fn published(&self, name: &TaskName) -> Result<Option<Published>, Error>;

    /// All tasks that were published, in the order of their names.
    async fn all_published(&self) -> Result<Vec<Published>, Error>;

    /// Take a name away. The task stays. A missing name is not an error.
    async fn unpublish(&self, name: &TaskName) -> Result<(), Error>;
}

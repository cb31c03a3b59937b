//! The names of tasks.

use async_trait::async_trait;
use sortie_protocol::{Published, TaskName};

use super::MemoryBroker;
use crate::traits::{Directory, Error};

#[async_trait]
impl Directory for MemoryBroker {
    async fn publish_name(&self, published: Published) -> Result<(), Error> {
        let key = (self.tenant, published.name.clone());
        self.shared.state.lock().published.insert(key, published);
        Ok(())
    }

    async fn published(&self, name: &TaskName) -> Result<Option<Published>, Error> {
        let key = (self.tenant, name.clone());
        Ok(self.shared.state.lock().published.get(&key).cloned())
    }

    async fn all_published(&self) -> Result<Vec<Published>, Error> {
        let state = self.shared.state.lock();
        let own = state.published.iter();
        let own = own.filter(|((tenant, _), _)| *tenant == self.tenant);
        Ok(own.map(|(_, published)| published.clone()).collect())
    }

    async fn unpublish(&self, name: &TaskName) -> Result<(), Error> {
        let key = (self.tenant, name.clone());
        self.shared.state.lock().published.remove(&key);
        Ok(())
    }
}

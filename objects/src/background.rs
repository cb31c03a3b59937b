//! Runs I/O on the I/O runtime, so that functions that compute never delay it.

use sortie_protocol::outcome::InputFault;
use tokio::runtime::Handle;

use crate::Error;

/// A tokio task that is aborted when its handle is dropped.
pub(crate) struct AbortOnDrop<T>(pub(crate) tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Run I/O on the I/O runtime. It starts at once; dropping the future aborts it. What waits for it
/// holds a handle only, however large the I/O's own future is.
pub(crate) fn on<T, F>(io: &Handle, future: F) -> impl Future<Output = Result<T, Error>> + use<T, F>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let mut task = AbortOnDrop(io.spawn(future));
    async move {
        (&mut task.0)
            .await
            .map_err(|error| Error::new(InputFault::Unavailable, ended(&error)))
    }
}

/// The error text for an I/O task that panicked or was aborted.
pub(crate) fn ended(error: &tokio::task::JoinError) -> &'static str {
    if error.is_panic() {
        "access to an object failed inside the host"
    } else {
        "the host is shutting down"
    }
}

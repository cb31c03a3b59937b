//! Connects to a fleet's broker.

use sortie_broker::nats;
use sortie_protocol::Advice;

use crate::api::builder::ConnectError;
use crate::api::client::Client;

impl ConnectError {
    /// What could be done, if known.
    #[must_use]
    pub fn advice(&self) -> Option<Advice> {
        match self {
            Self::NoRuntime => None,
            Self::Broker(error) => error.advice(),
        }
    }
}

impl Client {
    /// A client of the fleet whose broker is at `servers`: `nats://host:4222` or `tls://host:4222`,
    /// several servers of a cluster are separated by commas. [`Client::fleet`] takes settings that
    /// a URL cannot express.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use sortie::{Client, Function, object};
    ///
    /// let client = Client::connect("nats://broker.example:4222").await?;
    /// let words: Function<u64> = client.load("word-count.wasm").await?.function("count")?;
    /// // Submitted and left to the fleet: this program may end.
    /// let books = (0..1000).map(|i| object(format!("s3://books/{i}.txt")));
    /// let detached = client.submit_all(&words, books).await?;
    /// // Here or elsewhere, now or tomorrow.
    /// let outcomes = client.attach::<u64>(detached.job).await?.gather().await?;
    /// client.forget(detached.job).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// When the broker cannot be reached, refuses, or cannot be used.
    pub async fn connect(servers: impl Into<String>) -> Result<Self, ConnectError> {
        Self::fleet(nats::Config::new(servers, nats::Role::Client)).await
    }

    /// A client of the fleet with this broker configuration. [`Client::builder`] has more settings.
    /// Without the feature `embedded` it cannot load components: make functions with
    /// [`Function::new`](crate::Function::new).
    ///
    /// # Errors
    /// As [`Client::connect`].
    pub async fn fleet(config: nats::Config) -> Result<Self, ConnectError> {
        Self::builder().connect(config).await
    }
}

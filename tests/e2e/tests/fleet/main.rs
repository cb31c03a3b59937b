//! A fleet from the side of whoever submits: jobs that outlive their client, are attached to,
//! replayed and forgotten, by program and by command. The broker is a real server; workers run in
//! the test's process.

mod commands;
mod jobs;
mod tenants;

use std::time::Duration;

/// Long enough for anything that ends, on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(60);

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future)
        .await
        .expect("it did not end within the deadline")
}

//! Tests a fleet from the submitter's side: jobs that outlive their client, are attached to,
//! replayed and forgotten, by program and by command. The broker is a real server; workers run in
//! the test's process.

mod beside;
mod commands;
mod endings;
mod full;
mod gathering;
mod jobs;
mod looking;
mod pipeline;
mod tenants;
mod unusable;

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    sortie_harness::within("the end", future).await
}

//! How often and for how long a request to a store is retried.

use std::time::Duration;

use object_store::RetryConfig;

/// How often a request is retried after a transient error.
pub const RETRIES_MAX: usize = 5;
/// Maximum total time of the retries of a request.
pub const RETRY_TIME_MAX: Duration = Duration::from_secs(60);
pub(super) fn retry() -> RetryConfig {
    RetryConfig {
        max_retries: RETRIES_MAX,
        retry_timeout: RETRY_TIME_MAX,
        ..RetryConfig::default()
    }
}

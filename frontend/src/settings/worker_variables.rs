//! What the environment says of a worker.

/// The variables, as they are written.
#[derive(Debug, Clone, Default)]
pub(crate) struct WorkerVariables {
    /// `SORTIE_MEMORY`.
    pub(crate) memory: Option<String>,
    /// `SORTIE_MAX_MEMORY`.
    pub(crate) max_memory: Option<String>,
    /// `SORTIE_MAX_TIMEOUT`.
    pub(crate) max_timeout: Option<String>,
    /// `SORTIE_MAX_CPU_TIME`.
    pub(crate) max_cpu_time: Option<String>,
    /// `SORTIE_MAX_RESULT`.
    pub(crate) max_result: Option<String>,
    /// `SORTIE_MAX_LOG`.
    pub(crate) max_log: Option<String>,
    /// `SORTIE_MAX_WRITTEN`.
    pub(crate) max_written: Option<String>,
    /// `SORTIE_MAX_ATTEMPTS`.
    pub(crate) max_attempts: Option<String>,
    /// `SORTIE_STORE_QUOTA`.
    pub(crate) store_quota: Option<String>,
}

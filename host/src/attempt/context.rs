//! What an attempt works with: the host's parts, the job's context, the attempt itself.

use std::sync::Arc;

use sortie_objects::{Objects, OutputStore};
use sortie_protocol::Job;
use sortie_protocol::memo::KeyBuilder;
use tracing::Span;

use crate::component::Component;
use crate::engine::Engine;
use crate::memo::{self, JobCosts, Memo};
use crate::metrics::Metrics;
use crate::sandbox::Cancel;

/// What all attempts on a host share. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Host {
    /// The engine.
    pub engine: Arc<Engine>,
    /// Where inputs come from.
    pub objects: Objects,
    /// Where results are kept, if anywhere.
    pub memo: Option<Memo>,
    /// Where large outputs go, if anywhere.
    pub store: Option<OutputStore>,
    /// What is counted and timed.
    pub metrics: Arc<Metrics>,
}

/// What all attempts of a job on a host share.
#[derive(Debug)]
pub(crate) struct JobContext {
    pub(super) job: Arc<Job>,
    pub(super) component: Component,
    pub(super) key: KeyBuilder,
    pub(super) tenant: Arc<str>,
    pub(super) costs: JobCosts,
}

impl JobContext {
    /// The context of `job`, whose component is `component`. Without a tenant it is that of the
    /// default one.
    pub(crate) fn new(job: Arc<Job>, component: Component, tenant: Option<Arc<str>>) -> Self {
        let key = KeyBuilder::new(&job.function, &job.options.limits);
        let tenant = tenant.unwrap_or_else(|| memo::TENANT_DEFAULT.into());
        Self {
            job,
            component,
            key,
            tenant,
            costs: JobCosts::default(),
        }
    }

    /// The job.
    pub(crate) fn job(&self) -> &Arc<Job> {
        &self.job
    }
}

/// One attempt of a task. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub(crate) context: Arc<JobContext>,
    /// Stops it.
    pub(crate) cancel: Arc<Cancel>,
    /// Its span: the parent of `fetch`, `instantiate`, `run` and `keep`.
    pub(crate) span: Span,
}

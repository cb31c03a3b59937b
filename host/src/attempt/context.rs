//! Shared state of attempts: the host's parts, the job's context, the attempt itself.

use std::sync::Arc;
use std::time::Duration;

use sortie_broker::KeepValues;
use sortie_objects::{self as objects, Objects, OutputStore, TenantStore, values};
use sortie_protocol::memo::KeyBuilder;
use sortie_protocol::outcome::PlatformFault;
use sortie_protocol::{
    Digest, Failure, FunctionIndex, FunctionOptions, Job, JobFunction, LimitsMax, Signature,
};
use tracing::Span;

use crate::budget::Budget;
use crate::component::Component;
use crate::engine::Engine;
use crate::engine::apart::Compiler;
use crate::memo::{JobCosts, Memo};
use crate::metrics::Metrics;
use crate::sandbox::TaskCancel;
use crate::shortage::Shortages;

/// The parts of a host that all attempts share. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Host {
    /// The engine.
    pub engine: Arc<Engine>,
    /// Access to inputs.
    pub objects: Objects,
    /// The cache of results, if any.
    pub memo: Option<Memo>,
    /// The store for large outputs, if any.
    pub store: Option<OutputStore>,
    /// The broker, where it keeps large values that no store takes.
    pub values: Option<Arc<dyn KeepValues>>,
    /// Counters and timers.
    pub metrics: Arc<Metrics>,
    /// The memory for tasks.
    pub budget: Arc<Budget>,
    /// What compiles components.
    pub compiler: Compiler,
    /// What this machine had too little of.
    pub shortages: Arc<Shortages>,
    /// The most that a task may use, whatever its job says.
    pub limits_max: LimitsMax,
}

impl Host {
    /// Why a task fails whose input cannot be read. A shortage of this machine is remembered, and
    /// is not the input's fault.
    pub(crate) fn unread(&self, error: objects::Error) -> Failure {
        let is_shortage = error.is_shortage();
        let objects::Error { fault, message, .. } = error;
        if is_shortage {
            self.shortages.note(&message);
            return Failure::Platform {
                fault: PlatformFault::Host,
                message,
            };
        }
        Failure::Input { fault, message }
    }

    /// Why a task fails whose output is not stored. A shortage of this machine is remembered, which
    /// no refusal of a store is.
    pub(crate) fn unkept(&self, error: objects::WriteError) -> Failure {
        if error.is_shortage() {
            self.shortages.note(&error.message);
        }
        values::unkept(error)
    }
}

/// What all attempts of one function of a job share on a host.
#[derive(Debug)]
pub(crate) struct JobContext {
    pub(super) job: Arc<Job>,
    index: FunctionIndex,
    function: JobFunction,
    pub(super) component: Component,
    pub(super) key: KeyBuilder,
    pub(super) costs: JobCosts,
    /// Where the tenant's large outputs are stored, if anywhere.
    pub(super) store: Option<TenantStore>,
}

impl JobContext {
    /// The context of the function at `index` in the table of `job`, which is an export of
    /// `component`; none if the table has no such function.
    pub(crate) fn new(
        host: &Host,
        job: Arc<Job>,
        index: FunctionIndex,
        component: Component,
    ) -> Option<Self> {
        let function = job.function(index)?.clone();
        let store = host.store.as_ref();
        Some(Self {
            index,
            component,
            key: KeyBuilder::new(&function.function, &function.options.limits),
            costs: JobCosts::default(),
            store: store.map(|store| store.of(job.key.tenant)),
            job,
            function,
        })
    }

    /// The job.
    pub(crate) fn job(&self) -> &Arc<Job> {
        &self.job
    }

    /// The place of the function in the job's table.
    pub(crate) fn index(&self) -> FunctionIndex {
        self.index
    }

    /// Which component the function is in.
    pub(crate) fn component_digest(&self) -> Digest {
        self.function.function.component
    }

    /// The function's name in its component.
    pub(super) fn name(&self) -> &str {
        &self.function.function.name
    }

    /// What the function takes.
    pub(crate) fn signature(&self) -> Option<&Signature> {
        let mut signatures = self.component.signatures().iter();
        signatures.find(|signature| signature.name == self.name())
    }

    /// Whether a run takes less than this in the mean; not if there was none on this host.
    pub(crate) fn is_shorter_than(&self, time: Duration) -> bool {
        self.costs.are_below(time)
    }

    /// How the function is called.
    pub(crate) fn options(&self) -> &FunctionOptions {
        &self.function.options
    }
}

/// One attempt of a task. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Attempt {
    pub(crate) context: Arc<JobContext>,
    /// Stops it.
    pub(crate) cancel: TaskCancel,
    /// Its span: the parent of `fetch`, `instantiate`, `run` and `keep`.
    pub(crate) span: Span,
}

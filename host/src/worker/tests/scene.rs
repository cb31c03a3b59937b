//! A worker, its broker, and jobs for it.

use std::sync::atomic::{AtomicU8, Ordering};

use bytes::Bytes;
use futures::StreamExt as _;
use sortie_broker::{Event, Submit as _};
use sortie_protocol::{
    Argument, Bundle, Digest, FunctionOptions, FunctionRef, Job, JobId, JobKey, Limits, Outcome,
    RetryPolicy, Task, TenantId,
};

use super::super::{Arc, Duration, Handle, NonZeroUsize, Serves, Worker, WorkerId, timeout};
use super::faulty::{Ask, Faulty};
use super::watching::Recorder;
use crate::setup::{Identity, Setup, StoreAt};
use sortie_objects::{self as objects, Location};

/// The longest wait for anything.
const DEADLINE: Duration = Duration::from_secs(60);

/// See the module.
pub(super) struct Scene {
    pub(super) broker: Arc<Faulty>,
    pub(super) worker: Worker,
    component: Bytes,
    jobs: AtomicU8,
}

impl Scene {
    /// A worker with so many slots.
    pub(super) fn start(slots: usize) -> Self {
        Self::of(
            slots,
            Faulty::new(),
            StoreAt::Nowhere,
            objects::Config::default(),
            Recorder::new(),
        )
    }

    /// The same, with this observer.
    pub(super) fn observed(slots: usize, observer: Arc<Recorder>) -> Self {
        let objects = objects::Config::default();
        Self::of(slots, Faulty::new(), StoreAt::Nowhere, objects, observer)
    }

    /// The same, whose broker panics from the start.
    pub(super) fn with_panics(slots: usize, ask: Ask, times: u32) -> Self {
        let broker = Faulty::new();
        broker.panic_at(ask, times);
        let objects = objects::Config::default();
        Self::of(slots, broker, StoreAt::Nowhere, objects, Recorder::new())
    }

    /// The same, with a store.
    pub(super) fn with_store(slots: usize, place: Location, objects: objects::Config) -> Self {
        Self::of(
            slots,
            Faulty::new(),
            StoreAt::Shared(place),
            objects,
            Recorder::new(),
        )
    }

    fn of(
        slots: usize,
        broker: Faulty,
        store: StoreAt,
        objects: objects::Config,
        observer: Arc<Recorder>,
    ) -> Self {
        let component = std::fs::read(sortie_harness::component("behaviours"))
            .unwrap()
            .into();
        let broker = Arc::new(broker);
        let setup = Setup {
            concurrency: NonZeroUsize::new(slots),
            store,
            objects,
            ..Setup::default()
        };
        let identity = Identity {
            id: WorkerId::from_bytes([1; 16]),
            serves: Serves::Everything,
            introduction: None,
        };
        let prepared = setup
            .prepare(Handle::current())
            .unwrap()
            .with_observer(observer);
        let worker = prepared
            .start(identity, broker.clone(), Some(Duration::from_millis(200)))
            .unwrap();
        Self {
            broker,
            worker,
            component,
            jobs: AtomicU8::new(0),
        }
    }

    /// The digest of the component that jobs are of.
    pub(super) fn component(&self) -> Digest {
        Digest::of(&self.component)
    }

    /// A job of this function, whose tasks are tried again so often.
    pub(super) async fn job(&self, function: &str, retries: u32) -> JobKey {
        self.job_with(
            function,
            FunctionOptions {
                retry: RetryPolicy::retries(retries),
                ..FunctionOptions::default()
            },
        )
        .await
    }

    /// A job of this function with these limits.
    pub(super) async fn job_within(&self, function: &str, limits: Limits) -> JobKey {
        self.job_with(
            function,
            FunctionOptions {
                limits,
                ..FunctionOptions::default()
            },
        )
        .await
    }

    async fn job_with(&self, function: &str, options: FunctionOptions) -> JobKey {
        let digest = Digest::of(&self.component);
        self.broker
            .put_component(digest, self.component.clone())
            .await
            .unwrap();
        let function = FunctionRef {
            component: digest,
            name: function.into(),
        };
        self.job_of(TenantId::default(), function, options).await
    }

    /// A job of this tenant, whose component the broker need not have.
    pub(super) async fn job_of(
        &self,
        tenant: TenantId,
        function: FunctionRef,
        options: FunctionOptions,
    ) -> JobKey {
        let id = JobKey {
            tenant,
            job: JobId::from_bytes([self.jobs.fetch_add(1, Ordering::Relaxed); 16]),
        };
        let job = Job::of(id, function, options);
        self.broker.put_job(job, self.broker.now()).await.unwrap();
        id
    }

    /// One bundle, with a task for each of these arguments.
    pub(super) async fn publish(&self, job: JobKey, arguments: &[ciborium::Value]) {
        self.publish_after(job, 0, arguments).await;
    }

    /// The same, where the job has so many tasks already.
    pub(super) async fn publish_after(
        &self,
        job: JobKey,
        first: u64,
        arguments: &[ciborium::Value],
    ) {
        let argument = |value| {
            let mut bytes = Vec::new();
            ciborium::into_writer(value, &mut bytes).unwrap();
            vec![Argument::Value(bytes.into())]
        };
        self.publish_tasks(job, first, arguments.iter().map(argument))
            .await;
    }

    /// One bundle of so many tasks without arguments.
    pub(super) async fn publish_bare(&self, job: JobKey, count: usize) {
        self.publish_tasks(job, 0, std::iter::repeat_n(Vec::new(), count))
            .await;
    }

    async fn publish_tasks(
        &self,
        job: JobKey,
        first: u64,
        tasks: impl Iterator<Item = Vec<Argument>>,
    ) {
        let tasks = (first..)
            .zip(tasks)
            .map(|(index, arguments)| Task {
                index,
                function: 0,
                arguments,
                input: None,
                then: Vec::new(),
            })
            .collect();
        let bundle = Bundle {
            job,
            attempts_before: 0,
            lost_before: 0,
            published: self.broker.now(),
            tasks,
        };
        self.broker.publish(bundle).await.unwrap();
    }

    /// So many outcomes of a job, in the order of their tasks.
    pub(super) async fn outcomes(&self, job: JobKey, count: usize) -> Vec<Outcome> {
        let collecting = async {
            let mut events = self.broker.follow(job, 0).await.unwrap();
            let mut outcomes = Vec::new();
            while outcomes.len() < count {
                match events.next().await {
                    Some(Event::Outcomes(_, more)) => outcomes.extend(more.iter().cloned()),
                    Some(Event::CaughtUp(_)) => {}
                    other => panic!("{other:?} instead of outcomes"),
                }
            }
            outcomes.sort_by_key(|outcome| outcome.index);
            outcomes
        };
        timeout(DEADLINE, collecting)
            .await
            .expect("outcomes in time")
    }
}

//! The parts of a broker over NATS, and what takes several of them.

use std::sync::Arc;
use std::sync::atomic::AtomicU16;
use std::time::Duration;

use async_nats::HeaderMap;
use bytes::Bytes;
use parking_lot::Mutex;
use sortie_protocol::envelope;
use sortie_protocol::packing::TASKS_MAX;
use sortie_protocol::submission::unrun;
use sortie_protocol::{Ending, JobKey, JobState, TaskIndex, TenantId};

use super::admission::Admission;
use super::bundles::Bundles;
use super::cancelled_tasks::CancelledTasks;
use super::chunks::Chunks;
use super::components::Components;
use super::config::Config;
use super::connection::Connection;
use super::dead_letters::DeadLetters;
use super::directory::TaskNames;
use super::ended_tasks::EndedTasks;
use super::feed::Feeds;
use super::graphs::Graphs;
use super::held_lease::HeldLeases;
use super::jobs::{Changed, Jobs};
use super::layout::ExistingLayout;
use super::leases::Leases;
use super::names::Names;
use super::notes::Notes;
use super::outcomes::Outcomes;
use super::presence::Presences;
use super::provision::Provisioner;
use super::pull_queue::Parts;
use super::queues::Queues;
use super::server_clock::ServerClock;
use super::values::KeptValues;
use super::warnings::Warnings;
use crate::traits::{Cancellation, Error};

/// How long cancelling a job waits for room for saying so, once what waited of the job is removed:
/// long enough for the server to take that in, short for a person. Then it ends with
/// [`Error::Full`].
const CANCEL_ROOM_TIME_MAX: Duration = Duration::from_secs(5);

/// The parts of a broker, each with one responsibility.
#[derive(Debug)]
pub(super) struct Services {
    pub(super) connection: Connection,
    pub(super) names: Names,
    pub(super) tenant: TenantId,
    pub(super) laid: ExistingLayout,
    pub(super) provisioner: Provisioner,
    pub(super) components: Components,
    pub(super) jobs: Arc<Jobs>,
    pub(super) bundles: Arc<Bundles>,
    pub(super) outcomes: Outcomes,
    pub(super) ended: Arc<EndedTasks>,
    pub(super) dead_letters: DeadLetters,
    pub(super) graphs: Graphs,
    pub(super) task_names: TaskNames,
    pub(super) values: KeptValues,
    pub(super) presences: Presences,
    pub(super) feeds: Arc<Feeds>,
    pub(super) leases: Arc<Leases>,
    pub(super) cancelled_tasks: Arc<CancelledTasks>,
    pub(super) pulling: Parts,
}

impl Services {
    pub(super) fn new(config: Config, provisioner: Provisioner, laid: ExistingLayout) -> Self {
        let Provisioner {
            connection,
            jetstream,
            names,
        } = provisioner.clone();
        let jobs = Arc::new(Jobs::new(jetstream.clone(), names.clone()));
        let outcomes = Self::outcomes(&provisioner);
        let ended = Arc::new(EndedTasks::new(outcomes.clone()));
        let dead_letters = Self::dead_letters(&provisioner);
        let bundles = Arc::new(Self::bundles(&provisioner, jobs.clone(), laid.shards));
        let leases = Arc::new(Leases {
            connection: connection.clone(),
            lease: laid.lease,
            held: HeldLeases::default(),
            jobs: jobs.clone(),
            outcomes: outcomes.clone(),
            ended: ended.clone(),
            dead_letters: dead_letters.clone(),
            notes: Self::notes(&provisioner),
        });
        let cancelled_tasks = Arc::<CancelledTasks>::default();
        let admission = Arc::new(Admission {
            jetstream: jetstream.clone(),
            names: names.clone(),
            jobs: jobs.clone(),
            bundles: bundles.clone(),
            outcomes: outcomes.clone(),
            ended: ended.clone(),
            cancelled_tasks: cancelled_tasks.clone(),
            dead_letters: dead_letters.clone(),
            leases: leases.clone(),
            warnings: Warnings::default(),
            server_clock: ServerClock::default(),
            losses_max: config.losses_max,
        });
        Self {
            components: Self::components(&provisioner),
            presences: Self::presences(&provisioner),
            graphs: Graphs::new(&provisioner, laid.shards),
            task_names: TaskNames::new(&provisioner, config.tenant),
            values: KeptValues::new(&provisioner),
            feeds: Arc::new(Feeds {
                connection: connection.clone(),
                names: names.clone(),
                jobs: jobs.clone(),
                outcomes: outcomes.with_room_within(Duration::ZERO),
                trims: Mutex::default(),
            }),
            pulling: Parts {
                connection: connection.clone(),
                jetstream,
                names: names.clone(),
                provisioner: provisioner.clone(),
                bundles: bundles.clone(),
                leases: leases.clone(),
                admission,
            },
            tenant: config.tenant,
            connection,
            names,
            laid,
            provisioner,
            jobs,
            bundles,
            outcomes,
            ended,
            dead_letters,
            leases,
            cancelled_tasks,
        }
    }

    fn outcomes(provisioner: &Provisioner) -> Outcomes {
        Outcomes {
            connection: provisioner.connection.clone(),
            jetstream: provisioner.jetstream.clone(),
            names: provisioner.names.clone(),
        }
    }

    fn dead_letters(provisioner: &Provisioner) -> DeadLetters {
        DeadLetters {
            connection: provisioner.connection.clone(),
            jetstream: provisioner.jetstream.clone(),
            names: provisioner.names.clone(),
        }
    }

    fn notes(provisioner: &Provisioner) -> Notes {
        Notes {
            connection: provisioner.connection.clone(),
            jetstream: provisioner.jetstream.clone(),
            names: provisioner.names.clone(),
        }
    }

    fn bundles(provisioner: &Provisioner, jobs: Arc<Jobs>, shards: u16) -> Bundles {
        let connection = provisioner.connection.clone();
        // The first shard of this process, so that processes start at different shards.
        let client_id = connection.client.server_info().client_id;
        let publisher = connection.client.new_inbox();
        let publisher = publisher.rsplit('.').next().unwrap_or_default().to_owned();
        let first_shard = u16::try_from(client_id % u64::from(shards.max(1))).unwrap_or(0);
        Bundles {
            connection,
            jetstream: provisioner.jetstream.clone(),
            names: provisioner.names.clone(),
            jobs,
            shards,
            next_shard: AtomicU16::new(first_shard),
            publisher,
        }
    }

    fn components(provisioner: &Provisioner) -> Components {
        Components {
            chunks: Chunks {
                jetstream: provisioner.jetstream.clone(),
            },
            names: provisioner.names.clone(),
        }
    }

    fn presences(provisioner: &Provisioner) -> Presences {
        Presences {
            connection: provisioner.connection.clone(),
            jetstream: provisioner.jetstream.clone(),
            names: provisioner.names.clone(),
        }
    }

    pub(super) fn queues(&self) -> Queues<'_> {
        Queues {
            provisioner: &self.provisioner,
            shards: self.laid.shards,
        }
    }

    /// Seal a job's record, then store the seal in its stream. The record decides which of several
    /// seals counts. Between the two this process may die; then each follower that looks stores the
    /// marker, see [`feed`].
    pub(super) async fn seal(&self, key: &JobKey, tasks: TaskIndex) -> Result<(), Error> {
        let change = |state| match state {
            JobState::Open => Some(JobState::Sealed { tasks }),
            JobState::Sealed { .. } | JobState::Cancelled => None,
        };
        match self.jobs.change(key, change).await? {
            Changed::Yes(JobState::Sealed { tasks }) | Changed::No(JobState::Sealed { tasks }) => {
                self.jobs.sealed(key, tasks);
                self.outcomes.mark_sealed(key, tasks).await
            }
            Changed::Yes(JobState::Open | JobState::Cancelled)
            | Changed::No(JobState::Open | JobState::Cancelled)
            | Changed::NotThere => Ok(()),
        }
    }

    /// Remember a cancellation that this process was told of.
    pub(super) fn hear(&self, cancellation: &Cancellation) {
        match cancellation {
            Cancellation::Job(key) => self.jobs.cancelled(key),
            Cancellation::Tasks(key, tasks) => self.cancelled_tasks.add(*key, tasks),
        }
    }

    /// The records of jobs, for changes that are given up without room. It has a cache of its own,
    /// which changes do not need.
    pub(super) fn records_with_room_within(&self, time_max: Duration) -> Jobs {
        let jetstream = self.provisioner.jetstream.with_room_within(time_max);
        Jobs::new(jetstream, self.names.clone())
    }

    /// Cancel a job. Where there is no room to say so in its record, what waits of it is removed
    /// and its tasks are stopped all the same, and what that frees may be room enough.
    pub(super) async fn cancel(&self, key: &JobKey) -> Result<(), Error> {
        let change = |state| match state {
            JobState::Open | JobState::Sealed { .. } => Some(JobState::Cancelled),
            JobState::Cancelled => None,
        };
        let records = self.records_with_room_within(Duration::ZERO);
        let mut changed = records.change(key, change).await;
        if let Err(Error::Full { .. }) = changed {
            self.stop(key).await?;
            let records = self.records_with_room_within(CANCEL_ROOM_TIME_MAX);
            changed = records.change(key, change).await;
        }
        let changed = changed?;
        self.jobs.cancelled(key);
        match changed {
            Changed::NotThere => return Ok(()),
            Changed::Yes(_) => self.stop(key).await?,
            // It was cancelled before: the process that did may have died before this.
            Changed::No(_) => self.bundles.remove(key).await?,
        }
        let outcomes = self.outcomes.with_room_within(CANCEL_ROOM_TIME_MAX);
        match outcomes.mark_cancelled(key).await {
            // Followers go by the record until one of them finds room, see [`feed`].
            Err(Error::Full { .. }) => Ok(()),
            marked => marked,
        }
    }

    /// Have workers stop the running tasks of a job, and remove what waits of it.
    async fn stop(&self, key: &JobKey) -> Result<(), Error> {
        self.jobs.cancelled(key);
        let subject = self.names.cancel(key);
        self.connection
            .tell(subject, HeaderMap::new(), Bytes::new())
            .await?;
        self.bundles.remove(key).await
    }

    /// Cancel tasks: their outcomes are stored first, and only then workers are told, so that none
    /// of them runs what counts as waiting.
    pub(super) async fn cancel_tasks(
        &self,
        key: &JobKey,
        tasks: &[TaskIndex],
    ) -> Result<(), Error> {
        for tasks in tasks.chunks(TASKS_MAX) {
            let outcomes = tasks
                .iter()
                .map(|index| unrun(*index, Ending::Cancelled))
                .collect();
            self.leases.report(key, outcomes).await?;
            let notice = envelope::tasks_cancelled(tasks);
            self.connection
                .tell(self.names.cancel(key), HeaderMap::new(), notice)
                .await?;
        }
        Ok(())
    }

    /// Remove what there is of a job: its record first, which decides for everybody.
    pub(super) async fn forget(&self, key: &JobKey) -> Result<(), Error> {
        self.jobs.forget(key).await?;
        self.ended.forget(key);
        self.feeds.trims.lock().forget(key);
        // Before the rest: without bundles and outcomes the job looks like one that lost them.
        self.outcomes.tell_forgotten(key).await?;
        self.stop(key).await?;
        match self.leases.notes.forget(key).await {
            // Without this permission they go when they are old.
            Ok(()) | Err(Error::Denied { .. }) => {}
            Err(error) => return Err(error),
        }
        self.graphs.drop(key).await?;
        self.values.forget(key).await?;
        self.outcomes.drop_all(key).await
    }
}

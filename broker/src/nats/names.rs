//! The names of streams, consumers and subjects.
//!
//! All start with the space's name. The job is in the subjects and the task never: a server keeps
//! some 180 bytes for each live subject.
//!
//! | subject | kept in | what |
//! |---|---|---|
//! | `S.tasks.TENANT.SHARD.POOL.PRIORITY.JOB` | `S-tasks-TENANT-SHARD` | bundles |
//! | `S.attempts.TENANT.JOB.SHARD.SEQUENCE` | `S-attempts-TENANT` | notes on bundles |
//! | `S.jobs.TENANT.JOB` | `S-jobs-TENANT` | the job's record |
//! | `S.outcomes.TENANT.JOB` | `S-outcomes-TENANT` | reports, seal, marker of a cancelled job |
//! | `S.live.TENANT.JOB` | not kept | the same, when it is stored; notices to followers |
//! | `S.graphs.TENANT.JOB.entries` | `S-graphs-TENANT` | what waits of an open job's graph |
//! | `S.graphs.TENANT.JOB.term` | `S-graphs-TENANT` | who coordinates the job |
//! | `S.graphs.TENANT.DIGEST.name` | `S-graphs-TENANT` | the task of a name with this digest |
//! | `S.values.TENANT.JOB.TASK.DIGEST.CHUNK` | `S-values-TENANT` | a task's large result |
//! | `S.values.TENANT.JOB.argument.DIGEST.CHUNK` | `S-values-TENANT` | the same of an argument |
//! | `S.dead.TENANT.JOB` | `S-dead-TENANT` | dead letters |
//! | `S.components.DIGEST.CHUNK` | `S-components` | components in chunks, and their manifests |
//! | `S.meta.layout` | `S-meta` | how the installation is laid out |
//! | `S.meta.pool.POOL` | `S-meta` | the labels of a pool |
//! | `S.meta.tenant.TENANT` | `S-meta` | a tenant, and its share of the workers |
//! | `S.workers.WORKER` | `S-workers` | the workers that are there |
//! | `S.cancel.TENANT.JOB` | not kept | a job was cancelled |
//! | `S.bell.TENANT.SHARD.POOL.PRIORITY.JOB` | not kept | the headers of a stored bundle |

use sortie_protocol::{
    BrokerRef, Digest, JobId, JobKey, Priority, TaskIndex, TaskName, TenantId, WorkerId,
};

use super::config::Name;

/// Identifies the queue that a bundle waits in.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Source {
    /// Whose bundles they are.
    pub(super) tenant: TenantId,
    /// Which of the streams that share the bundles.
    pub(super) shard: u16,
    /// The pool of workers that may take it.
    pub(super) pool: String,
    /// Its job's priority.
    pub(super) priority: Priority,
}

/// Builds the names of one space.
#[derive(Debug, Clone)]
pub(super) struct Names {
    space: Name,
}

pub(super) const PRIORITIES: [Priority; 3] = [Priority::High, Priority::Normal, Priority::Low];

fn word(priority: Priority) -> &'static str {
    match priority {
        Priority::Low => "low",
        Priority::Normal => "normal",
        Priority::High => "high",
    }
}

impl Names {
    pub(super) fn new(space: Name) -> Self {
        Self { space }
    }

    pub(super) fn tasks_stream(&self, tenant: &TenantId, shard: u16) -> String {
        format!("{}-tasks-{tenant}-{shard}", self.space)
    }

    /// What one pool's bundles are published to in a shard. A stream takes those of the pools there
    /// are, and no others.
    pub(super) fn pool_subjects(&self, tenant: &TenantId, shard: u16, pool: &str) -> String {
        format!("{}.tasks.{tenant}.{shard}.{pool}.*.*", self.space)
    }

    pub(super) fn source_subjects(&self, source: &Source) -> String {
        self.place(source, "tasks", "*")
    }

    pub(super) fn task(&self, source: &Source, job: JobId) -> String {
        self.place(source, "tasks", &job.to_string())
    }

    fn place(&self, source: &Source, kind: &str, job: &str) -> String {
        let Source {
            tenant,
            shard,
            pool,
            priority,
        } = source;
        let priority = word(*priority);
        format!(
            "{}.{kind}.{tenant}.{shard}.{pool}.{priority}.{job}",
            self.space
        )
    }

    /// All bundles of a job in one shard.
    pub(super) fn tasks_of(&self, shard: u16, key: &JobKey) -> String {
        format!(
            "{}.tasks.{}.{shard}.*.*.{}",
            self.space, key.tenant, key.job
        )
    }

    /// Every bundle of a tenant that is stored, and where its headers are published again.
    pub(super) fn rung(&self, tenant: &TenantId) -> (String, String) {
        (
            format!("{}.tasks.{tenant}.>", self.space),
            format!("{}.bell.{tenant}.>", self.space),
        )
    }

    /// Where a task's subject says it is from.
    pub(super) fn parse_task(&self, subject: &str) -> Option<(Source, JobKey)> {
        self.parse_place(subject, "tasks")
    }

    /// The queue that a subject names, whatever stands in the place of the job.
    pub(super) fn parse_source(&self, subject: &str) -> Option<Source> {
        self.parse_queue(subject, "tasks").map(|(source, _)| source)
    }

    pub(super) fn parse_bell(&self, subject: &str) -> Option<Source> {
        self.parse_place(subject, "bell").map(|(source, _)| source)
    }

    fn parse_place(&self, subject: &str, kind: &str) -> Option<(Source, JobKey)> {
        let (source, job) = self.parse_queue(subject, kind)?;
        let (tenant, job) = (source.tenant, job.parse().ok()?);
        Some((source, JobKey { tenant, job }))
    }

    /// The queue that a subject names, and the word for the job.
    fn parse_queue<'a>(&self, subject: &'a str, kind: &str) -> Option<(Source, &'a str)> {
        let mut words = subject
            .strip_prefix(self.space.as_str())?
            .strip_prefix('.')?
            .strip_prefix(kind)?
            .strip_prefix('.')?
            .split('.');
        let tenant = words.next()?.parse().ok()?;
        let shard = words.next()?.parse().ok()?;
        let pool = words.next()?.to_owned();
        let priority = words.next().and_then(|found| {
            PRIORITIES
                .into_iter()
                .find(|priority| word(*priority) == found)
        })?;
        let job = words.next()?;
        words.next().is_none().then_some((
            Source {
                tenant,
                shard,
                pool,
                priority,
            },
            job,
        ))
    }

    pub(super) fn consumer(&self, source: &Source) -> String {
        format!("{}-{}", source.pool, word(source.priority))
    }

    pub(super) fn all_bells(&self) -> String {
        format!("{}.bell.>", self.space)
    }

    pub(super) fn attempts_stream(&self, tenant: &TenantId) -> String {
        format!("{}-attempts-{tenant}", self.space)
    }

    pub(super) fn all_attempts(&self, tenant: &TenantId) -> String {
        format!("{}.attempts.{tenant}.*.*.*", self.space)
    }

    /// Attempts at the bundles of one job.
    pub(super) fn attempts_of(&self, key: &JobKey) -> String {
        format!("{}.attempts.{}.{}.*.*", self.space, key.tenant, key.job)
    }

    /// Attempts at one bundle, which its place in the stream names.
    pub(super) fn attempts(&self, key: &JobKey, shard: u16, sequence: u64) -> String {
        let JobKey { tenant, job } = key;
        format!("{}.attempts.{tenant}.{job}.{shard}.{sequence}", self.space)
    }

    pub(super) fn jobs_stream(&self, tenant: &TenantId) -> String {
        format!("{}-jobs-{tenant}", self.space)
    }

    pub(super) fn job(&self, key: &JobKey) -> String {
        format!("{}.jobs.{}.{}", self.space, key.tenant, key.job)
    }

    pub(super) fn all_jobs(&self, tenant: &TenantId) -> String {
        format!("{}.jobs.{tenant}.*", self.space)
    }

    pub(super) fn outcomes_stream(&self, tenant: &TenantId) -> String {
        format!("{}-outcomes-{tenant}", self.space)
    }

    pub(super) fn outcomes(&self, key: &JobKey) -> String {
        format!("{}.outcomes.{}.{}", self.space, key.tenant, key.job)
    }

    pub(super) fn all_outcomes(&self, tenant: &TenantId) -> String {
        format!("{}.outcomes.{tenant}.*", self.space)
    }

    pub(super) fn live(&self, key: &JobKey) -> String {
        format!("{}.live.{}.{}", self.space, key.tenant, key.job)
    }

    /// Every stored report of a tenant, and where it goes again.
    pub(super) fn republished(&self, tenant: &TenantId) -> (String, String) {
        (
            format!("{}.outcomes.{tenant}.>", self.space),
            format!("{}.live.{tenant}.>", self.space),
        )
    }

    pub(super) fn graphs_stream(&self, tenant: &TenantId) -> String {
        format!("{}-graphs-{tenant}", self.space)
    }

    pub(super) fn all_graphs(&self, tenant: &TenantId) -> String {
        format!("{}.graphs.{tenant}.*.*", self.space)
    }

    /// A job's graph.
    pub(super) fn graph(&self, key: &JobKey) -> String {
        format!("{}.graphs.{}.{}.entries", self.space, key.tenant, key.job)
    }

    /// Who coordinates a job.
    pub(super) fn term(&self, key: &JobKey) -> String {
        format!("{}.graphs.{}.{}.term", self.space, key.tenant, key.job)
    }

    pub(super) fn all_terms(&self, tenant: &TenantId) -> String {
        format!("{}.graphs.{tenant}.*.term", self.space)
    }

    /// The task that was published with a name.
    pub(super) fn published(&self, tenant: &TenantId, name: &TaskName) -> String {
        let digest = Digest::of(name.as_str().as_bytes()).to_hex();
        format!("{}.graphs.{tenant}.{digest}.name", self.space)
    }

    pub(super) fn all_published(&self, tenant: &TenantId) -> String {
        format!("{}.graphs.{tenant}.*.name", self.space)
    }

    /// The job whose term is on a subject.
    pub(super) fn parse_term(&self, subject: &str) -> Option<JobKey> {
        let (tenant, job) = subject
            .strip_prefix(self.space.as_str())?
            .strip_prefix(".graphs.")?
            .strip_suffix(".term")?
            .split_once('.')?;
        Some(JobKey {
            tenant: tenant.parse().ok()?,
            job: job.parse().ok()?,
        })
    }

    pub(super) fn values_stream(&self, tenant: &TenantId) -> String {
        format!("{}-values-{tenant}", self.space)
    }

    pub(super) fn all_values(&self, tenant: &TenantId) -> String {
        format!("{}.values.{tenant}.*.*.*.*", self.space)
    }

    /// A chunk of a large value.
    pub(super) fn value(&self, tenant: &TenantId, kept: &BrokerRef, chunk: u64) -> String {
        let BrokerRef {
            job, digest, task, ..
        } = kept;
        let task = task.map_or("argument".into(), |task| task.to_string());
        let digest = digest.to_hex();
        format!(
            "{}.values.{tenant}.{job}.{task}.{digest}.{chunk}",
            self.space
        )
    }

    pub(super) fn values_of_task(&self, key: &JobKey, task: TaskIndex) -> String {
        let JobKey { tenant, job } = key;
        format!("{}.values.{tenant}.{job}.{task}.*.*", self.space)
    }

    pub(super) fn values_of(&self, key: &JobKey) -> String {
        let JobKey { tenant, job } = key;
        format!("{}.values.{tenant}.{job}.*.*.*", self.space)
    }

    pub(super) fn dead_stream(&self, tenant: &TenantId) -> String {
        format!("{}-dead-{tenant}", self.space)
    }

    pub(super) fn dead(&self, tenant: &TenantId, job: Option<JobId>) -> String {
        match job {
            Some(job) => format!("{}.dead.{tenant}.{job}", self.space),
            None => format!("{}.dead.{tenant}.unreadable", self.space),
        }
    }

    pub(super) fn all_dead(&self, tenant: &TenantId) -> String {
        format!("{}.dead.{tenant}.*", self.space)
    }

    pub(super) fn components_stream(&self) -> String {
        format!("{}-components", self.space)
    }

    pub(super) fn all_components(&self) -> String {
        format!("{}.components.*.*", self.space)
    }

    pub(super) fn manifest(&self, digest: Digest) -> String {
        format!("{}.components.{}.manifest", self.space, digest.to_hex())
    }

    pub(super) fn chunk(&self, digest: Digest, chunk: u64) -> String {
        format!("{}.components.{}.{chunk}", self.space, digest.to_hex())
    }

    pub(super) fn meta_stream(&self) -> String {
        format!("{}-meta", self.space)
    }

    pub(super) fn all_meta(&self) -> String {
        format!("{}.meta.>", self.space)
    }

    pub(super) fn layout(&self) -> String {
        format!("{}.meta.layout", self.space)
    }

    pub(super) fn pool(&self, pool: &str) -> String {
        format!("{}.meta.pool.{pool}", self.space)
    }

    pub(super) fn all_pools(&self) -> String {
        format!("{}.meta.pool.*", self.space)
    }

    pub(super) fn tenant(&self, tenant: &TenantId) -> String {
        format!("{}.meta.tenant.{tenant}", self.space)
    }

    pub(super) fn all_tenants(&self) -> String {
        format!("{}.meta.tenant.*", self.space)
    }

    pub(super) fn workers_stream(&self) -> String {
        format!("{}-workers", self.space)
    }

    pub(super) fn worker(&self, worker: WorkerId) -> String {
        format!("{}.workers.{worker}", self.space)
    }

    pub(super) fn all_workers(&self) -> String {
        format!("{}.workers.*", self.space)
    }

    pub(super) fn cancel(&self, key: &JobKey) -> String {
        format!("{}.cancel.{}.{}", self.space, key.tenant, key.job)
    }

    pub(super) fn all_cancels(&self) -> String {
        format!("{}.cancel.*.*", self.space)
    }

    /// The job that a cancellation names.
    pub(super) fn parse_cancel(&self, subject: &str) -> Option<JobKey> {
        let (tenant, job) = subject
            .strip_prefix(self.space.as_str())?
            .strip_prefix(".cancel.")?
            .split_once('.')?;
        Some(JobKey {
            tenant: tenant.parse().ok()?,
            job: job.parse().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_subject_says_where_it_is_from() {
        let names = Names::new("space".parse().unwrap());
        let source = Source {
            tenant: "acme".parse().unwrap(),
            shard: 3,
            pool: "any".into(),
            priority: Priority::High,
        };
        let key = JobKey {
            tenant: "acme".parse().unwrap(),
            job: JobId::from_bytes([7; 16]),
        };
        let subject = names.task(&source, key.job);
        assert_eq!(names.parse_task(&subject), Some((source.clone(), key)));
        assert_eq!(names.parse_cancel(&names.cancel(&key)), Some(key));
        assert_eq!(names.parse_term(&names.term(&key)), Some(key));
        assert_eq!(names.parse_term(&names.graph(&key)), None);
        assert_eq!(names.parse_bell(&subject), None);
        let bell = subject.replace(".tasks.", ".bell.");
        assert_eq!(names.parse_bell(&bell), Some(source.clone()));
        for other in [
            "",
            "space.tasks",
            "other.tasks.acme.3.any.high.x",
            &format!("{subject}.more"),
            "space.tasks.acme.3.any.urgent.job-0",
        ] {
            assert_eq!(names.parse_task(other), None, "{other}");
            assert_eq!(names.parse_source(other), None, "{other}");
        }
        let nobodys = "space.tasks.acme.3.any.high.job-0";
        assert_eq!(names.parse_task(nobodys), None);
        assert_eq!(names.parse_source(nobodys), Some(source));
    }
}

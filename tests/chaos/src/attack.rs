//! The process of a run that attacks: a second tenant, which does all that its permissions allow.
//!
//! It fills its queue to the limit, publishes what is no bundle, no job record and no report, asks
//! for absurd limits, has many components compiled and refused, cancels and forgets the jobs of the
//! tenant that is judged, and leaves its jobs and graphs behind. What it asks for is often refused,
//! which is no error. It goes on until it is killed, and keeps a file that counts what it did.

use std::collections::BTreeMap;
use std::fmt;
use std::num::{NonZeroU32, NonZeroU64};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use sortie_broker::nats::{Config, NatsBroker, Provision, Role};
use sortie_broker::{Coordinate as _, Error, Submit as _};
use sortie_protocol::{
    Bundle, ByteSize, Digest, FunctionOptions, FunctionRef, GraphEntry, Job, JobId, JobKey, Limits,
    Part, Priority, RetryPolicy, Task, Term, WaitingTask, WorkerId, envelope,
};
use tokio::sync::watch;
use tokio::time::{interval, timeout};

use crate::accounts::{ATTACKING, JUDGED, User, nobody, tenant};
use crate::common::{now, patiently};
use crate::filler::{pour_into_queue, waiting};
use crate::raw::Raw;
use crate::work::{self, Work};

/// How long one attack goes on. Requests that are refused as full are repeated without end.
const ATTACK_TIME_MAX: Duration = Duration::from_secs(3);
/// How long something that is not permitted is tried.
const FORBIDDEN_TIME_MAX: Duration = Duration::from_millis(300);
/// How long the queue is kept full.
const FULL_TIME: Duration = Duration::from_secs(1);
/// Bundles of one job that is left behind.
const ABANDONED: u64 = 4;
/// Tasks in each of them.
const TASKS: u64 = 2;
/// Components that are compiled, each of them once: storage keeps them for ever.
const COMPONENTS_MAX: u64 = 12;
/// What garbage is, at most, in bytes.
const GARBAGE: usize = 4096;

/// What an attacker is told.
#[derive(Debug, Clone)]
pub struct Attack {
    /// The servers, each behind a proxy, without a password.
    pub broker: String,
    /// A job of the tenant that is judged.
    pub victim: JobId,
    /// Where counts go: a file that is not there yet.
    pub file: PathBuf,
    /// Between two attacks.
    pub pace: Duration,
}

/// What an attacker does, in turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Way {
    FillQueue,
    PublishGarbage,
    SpoilRecord,
    ForgeReports,
    AskTooMuch,
    CompileMuch,
    BeRefused,
    MeddleWithOthers,
    AbandonJob,
    LeaveGraph,
}

const WAYS: [Way; 10] = [
    Way::AbandonJob,
    Way::LeaveGraph,
    Way::PublishGarbage,
    Way::CompileMuch,
    Way::SpoilRecord,
    Way::MeddleWithOthers,
    Way::AskTooMuch,
    Way::ForgeReports,
    Way::BeRefused,
    Way::FillQueue,
];

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::FillQueue => "queue filled to its limit",
            Self::PublishGarbage => "garbage in place of bundles",
            Self::SpoilRecord => "garbage in place of a job's record",
            Self::ForgeReports => "forged reports and seals",
            Self::AskTooMuch => "job with absurd limits",
            Self::CompileMuch => "component that is costly to compile",
            Self::BeRefused => "component that is refused",
            Self::MeddleWithOthers => "jobs of the other tenant cancelled and forgotten",
            Self::AbandonJob => "job without end left behind",
            Self::LeaveGraph => "graph that nobody can go on with left behind",
        })
    }
}

/// The names of all attacks.
pub fn names() -> impl Iterator<Item = String> {
    WAYS.into_iter().map(|way| way.to_string())
}

/// What was done, and how often.
///
/// # Errors
/// When the file is no such count.
pub fn counts(file: &Path) -> Result<BTreeMap<String, u64>> {
    match std::fs::read(file) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        text => Ok(serde_json::from_slice(&text?)?),
    }
}

/// Attack until the process is killed.
///
/// # Errors
/// When the attacker itself cannot begin or cannot count.
pub async fn attack(attack: &Attack) -> Result<()> {
    let mut attacker = Attacker::begin(attack).await?;
    let mut ticks = interval(attack.pace.max(Duration::from_millis(1)));
    let mut done: BTreeMap<String, u64> = BTreeMap::new();
    for way in WAYS.into_iter().cycle() {
        ticks.tick().await;
        // What was begun and took too long was done as well.
        let _ = timeout(ATTACK_TIME_MAX, attacker.go(way)).await;
        if way == Way::FillQueue && !attacker.was_full.send_replace(false) {
            continue;
        }
        *done.entry(way.to_string()).or_default() += 1;
        let next = attack.file.with_extension("next");
        std::fs::write(&next, serde_json::to_vec(&done)?)?;
        std::fs::rename(&next, &attack.file)?;
    }
    Ok(())
}

struct Attacker {
    broker: NatsBroker,
    raw: Raw,
    component: Vec<u8>,
    digest: Digest,
    victim: JobKey,
    /// Whether its queue was at its limit in this turn.
    was_full: watch::Sender<bool>,
    /// Names jobs and components.
    next: u64,
}

impl Attacker {
    async fn begin(attack: &Attack) -> Result<Self> {
        let config = Config {
            tenant: tenant(ATTACKING),
            provision: Provision::Never,
            ..Config::new(User::Attacking.urls(&attack.broker), Role::Client)
        };
        let broker = patiently(|| NatsBroker::connect(config.clone()))
            .await
            .context("failed to connect")?;
        let component = std::fs::read(sortie_harness::component(work::COMPONENT))?;
        Ok(Self {
            broker,
            raw: Raw::connect(&attack.broker, User::Attacking).await?,
            digest: Digest::of(&component),
            component,
            victim: JobKey {
                tenant: tenant(JUDGED),
                job: attack.victim,
            },
            was_full: watch::Sender::new(false),
            next: 0,
        })
    }

    async fn go(&mut self, way: Way) -> Result<(), Error> {
        self.next += 1;
        match way {
            Way::FillQueue => self.fill_queue().await,
            Way::PublishGarbage => self.publish_garbage().await,
            Way::SpoilRecord => self.spoil_record().await,
            Way::ForgeReports => self.forge_reports().await,
            Way::AskTooMuch => self.ask_too_much().await,
            Way::CompileMuch => self.compile_much().await,
            Way::BeRefused => self.be_refused().await,
            Way::MeddleWithOthers => self.meddle_with_others().await,
            Way::AbandonJob => self.abandon_job().await,
            Way::LeaveGraph => self.leave_graph().await,
        }
    }

    /// A job of its own that nobody had before.
    async fn job(&self, digest: Digest, options: FunctionOptions) -> Result<JobKey, Error> {
        let name = (u128::from(now().as_nanos()) << 64) | u128::from(self.next);
        self.job_as(JobId::from_bytes(name.to_be_bytes()), digest, options)
            .await
    }

    async fn job_as(
        &self,
        job: JobId,
        component: Digest,
        options: FunctionOptions,
    ) -> Result<JobKey, Error> {
        let key = JobKey {
            tenant: tenant(ATTACKING),
            job,
        };
        let function = FunctionRef {
            component,
            name: work::FUNCTION.into(),
        };
        self.broker
            .put_job(Job::of(key, function, options), now())
            .await?;
        Ok(key)
    }

    async fn publish(&self, key: JobKey, tasks: Vec<Task>) -> Result<(), Error> {
        self.broker.publish(bundle(key, tasks)).await
    }

    async fn fill_queue(&self) -> Result<(), Error> {
        let options = FunctionOptions {
            labels: nobody(),
            ..work::options()
        };
        let key = self.job(self.digest, options).await?;
        // As long as this lasts, it takes what becomes free.
        let subject = waiting(key);
        let _ = timeout(
            FULL_TIME,
            pour_into_queue(&self.raw, &subject, &self.was_full),
        )
        .await;
        self.broker.cancel(key).await?;
        self.broker.forget(key).await
    }

    async fn publish_garbage(&self) -> Result<(), Error> {
        let key = self.job(self.digest, work::options()).await?;
        let real = envelope::bundle(&bundle(key, endless(0)));
        let of_other = envelope::bundle(&bundle(self.victim, endless(0)));
        let half = real.slice(..real.len() / 2);
        let noise = self.component.iter().rev().take(GARBAGE).copied();
        let bodies: [Bytes; 5] = [
            Bytes::new(),
            "garbage".into(),
            half,
            of_other,
            noise.collect::<Vec<u8>>().into(),
        ];
        for body in bodies {
            for job in [key.job, self.victim.job] {
                let subject = format!("sortie.tasks.{ATTACKING}.0.any.high.{job}");
                self.raw.tell(subject, body.clone()).await;
            }
        }
        for (header, value) in [
            ("Nats-Msg-Id", format!("{}-0", self.victim.job)),
            ("Sortie-Tasks", "0-18446744073709551615".to_owned()),
        ] {
            let subject = format!("sortie.tasks.{ATTACKING}.0.any.high.{}", key.job);
            self.raw
                .tell_with(subject, (header, &value), "garbage")
                .await;
        }
        Ok(())
    }

    async fn spoil_record(&self) -> Result<(), Error> {
        let key = self.job(self.digest, work::options()).await?;
        self.publish(key, endless(0)).await?;
        let subject = format!("sortie.jobs.{ATTACKING}.{}", key.job);
        self.raw.tell(subject, "garbage").await;
        Ok(())
    }

    async fn forge_reports(&self) -> Result<(), Error> {
        let key = self.job(self.digest, work::options()).await?;
        let subject = format!("sortie.outcomes.{ATTACKING}.{}", key.job);
        for body in [
            Bytes::from("garbage"),
            envelope::sealed(u64::MAX),
            envelope::outcomes(&[]),
            envelope::cancelled(),
        ] {
            self.raw.tell(subject.clone(), body).await;
        }
        self.publish(key, endless(0)).await
    }

    async fn ask_too_much(&self) -> Result<(), Error> {
        let much = ByteSize::mib(u64::MAX >> 20);
        let ages = Duration::from_secs(u64::from(u32::MAX));
        let limits = Limits {
            memory: much,
            wall_time: ages,
            cpu_time: ages,
            result: much,
            log: much,
            output_bytes: much,
        };
        let options = FunctionOptions {
            limits,
            retry: RetryPolicy {
                attempts_max: NonZeroU32::MAX,
                backoff_min: Duration::ZERO,
                backoff_max: ages,
            },
            priority: Priority::High,
            ..work::options()
        };
        let key = self.job(self.digest, options).await?;
        self.publish(key, endless(0)).await?;
        // As much memory as is allowed, so that nothing else fits.
        let limits = Limits {
            memory: Limits::MEMORY_MAX,
            ..work::options().limits
        };
        let options = FunctionOptions {
            limits,
            ..work::options()
        };
        let key = self.job(self.digest, options).await?;
        self.publish(key, endless(0)).await
    }

    /// The same functions under another digest, which have to be compiled again.
    async fn compile_much(&self) -> Result<(), Error> {
        let mut bytes = self.component.clone();
        let number = self.next % (COMPONENTS_MAX * WAYS.len() as u64);
        let mut section = vec![1, b'n'];
        section.extend(number.to_be_bytes());
        // A section that means nothing: its kind, its length, its name and its content.
        bytes.extend([0, 10]);
        bytes.extend(section);
        self.run_of(bytes).await
    }

    async fn be_refused(&self) -> Result<(), Error> {
        let number = self.next;
        let import = format!("(component (import \"acme:db{number}/query@1.0.0\" (instance)))");
        let locals = "i32 ".repeat(20_001);
        let large = format!(
            "(component (core module (func (local {locals}) (drop (i32.const {number})))))"
        );
        for text in [import, large] {
            if let Ok(bytes) = wat::parse_str(text) {
                self.run_of(bytes).await?;
            }
        }
        self.run_of(format!("no component {number}").into_bytes())
            .await
    }

    /// Have a task of this component run.
    async fn run_of(&self, bytes: Vec<u8>) -> Result<(), Error> {
        let digest = Digest::of(&bytes);
        self.broker.put_component(digest, bytes.into()).await?;
        let key = self.job(digest, work::options()).await?;
        self.publish(key, endless(0)).await
    }

    async fn meddle_with_others(&self) -> Result<(), Error> {
        let JobKey { tenant, job } = self.victim;
        let task = envelope::bundle(&bundle(self.victim, endless(0)));
        for (subject, body) in [
            (format!("sortie.cancel.{tenant}.{job}"), Bytes::new()),
            (
                format!("sortie.outcomes.{tenant}.{job}"),
                envelope::cancelled(),
            ),
            (
                format!("sortie.outcomes.{tenant}.{job}"),
                envelope::sealed(1),
            ),
            (format!("sortie.jobs.{tenant}.{job}"), "garbage".into()),
            (format!("sortie.tasks.{tenant}.0.any.normal.{job}"), task),
            (
                format!("$JS.API.STREAM.PURGE.sortie-tasks-{tenant}-0"),
                Bytes::new(),
            ),
            (
                format!("$JS.API.STREAM.PURGE.sortie-outcomes-{tenant}"),
                Bytes::new(),
            ),
            (
                format!("$JS.API.STREAM.DELETE.sortie-jobs-{tenant}"),
                Bytes::new(),
            ),
        ] {
            self.raw.tell(subject, body).await;
        }
        // By the broker's own ways, which wait for an answer that does not come.
        let _ = timeout(FORBIDDEN_TIME_MAX, self.broker.cancel(self.victim)).await;
        let _ = timeout(FORBIDDEN_TIME_MAX, self.broker.forget(self.victim)).await;
        // A job of its own with the same id.
        let key = self.job_as(job, self.digest, work::options()).await?;
        self.publish(key, endless(0)).await?;
        self.broker.cancel(key).await?;
        self.broker.forget(key).await
    }

    /// Tasks that wait for themselves, for others that never were, and far beyond all others; with
    /// a claim that others may take over at once.
    async fn leave_graph(&self) -> Result<(), Error> {
        let key = self.job(self.digest, work::options()).await?;
        let entry = |index, input| {
            GraphEntry::Waiting(WaitingTask {
                index,
                function: 0,
                parts: vec![Part::Result(input)],
                input: None,
                repeatable: true,
            })
        };
        let mut entries: Vec<_> = (0..TASKS).map(|index| entry(index, index + 1)).collect();
        entries.push(entry(u64::MAX - 1 - self.next % 2 * (1 << 40), 7));
        self.broker.append_graph(key, entries).await?;
        let term = Term {
            number: u64::MAX,
            holder: WorkerId::from_bytes([7; 16]),
            holds: false,
        };
        self.broker.claim(key, term, None).await.map(drop)
    }

    async fn abandon_job(&self) -> Result<(), Error> {
        let key = self.job(self.digest, work::options()).await?;
        for first in 0..ABANDONED {
            self.publish(key, endless(first * TASKS)).await?;
        }
        Ok(())
    }
}

/// Tasks that end only by their limit.
fn endless(first: u64) -> Vec<Task> {
    let work = Work {
        tasks: first + TASKS,
        rounds: 0,
        poison: NonZeroU64::new(1),
    };
    (first..first + TASKS)
        .map(|index| work.task(index))
        .collect()
}

fn bundle(job: JobKey, tasks: Vec<Task>) -> Bundle {
    Bundle {
        job,
        attempts_before: 0,
        lost_before: 0,
        published: now(),
        tasks,
    }
}

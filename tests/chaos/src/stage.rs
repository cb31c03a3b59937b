//! What happens in a run: start everything, do what the schedule says until all outcomes are read,
//! read them once more. What each fault does is in [`faults`].
//!
//! The schedule's faults begin and end in their order. Starting a server again is waited for, and
//! all that follows in the schedule comes later by as much, so that no fault is shorter than it
//! should be. Workers that end by themselves are started again; a submitter or reader that does so
//! without having done its work ends the run, and so does [`patience`] without an outcome.

mod faults;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum as _;
use futures::StreamExt as _;
use sortie_broker::{Event, Submit as _};
use sortie_harness::patience;
use sortie_protocol::{Bundle, Digest, Job, JobId};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use crate::accounts::{self, User};
use crate::attack;
use crate::common;
use crate::fleet::{Member, Servers};
use crate::history::{self, Log, Record};
use crate::parts::Through;
use crate::plan::Plan;
use crate::schedule::{Fault, Random, Schedule, WORKERS};
use crate::work::{self, Work};
use faults::Fillers;

/// How often processes are looked at.
const LOOK: Duration = Duration::from_millis(50);
/// Lost leases in a row that a task may have. Many more than by default: here leases are short and
/// hardly one is left alone, and it is nobody's fault that a task was with five workers in a row
/// when they were killed.
const GIVE_UP_AFTER: &str = "20";
/// What is shown of a log when a run is stuck.
const LINES_SHOWN: usize = 15;
/// One in this many readers begins anew instead of going on from its predecessor.
const ANEW: u64 = 3;
/// The folder of the mapper's own history, in the run's.
pub(crate) const MAPPED: &str = "mapped";
/// The folder of the grapher's steps, in the run's.
pub(crate) const GRAPHED: &str = "graphed";
/// The mapper has a task for each of so many of the submitter's.
const MAPPED_SHARE: u64 = 10;
/// The counts of the attacker, in the run's folder.
const ATTACKS: &str = "attacks.json";

/// A run under way.
pub(crate) struct Stage<'a> {
    plan: &'a Plan,
    job: JobId,
    servers: Servers,
    workers: Vec<Member>,
    submitter: Member,
    reader: Member,
    mapper: Member,
    grapher: Member,
    attacker: Member,
    log: Log,
    started: Instant,
    /// When the schedule's time began: later than the start by all that the schedule had to wait
    /// for.
    origin: Instant,
    /// Faults that have begun: when they end, and on which server if on one.
    under_way: Vec<(Duration, Fault, usize)>,
    fillers: Fillers,
    submitters: u32,
    recorded: u64,
    readers: u32,
    /// Where the present reader began.
    reader_from: u64,
    read_all: bool,
    submitted_all: bool,
    mapped_all: bool,
    graphed_all: bool,
    random: Random,
    faults: BTreeMap<String, u64>,
    exits: Vec<String>,
    elapsed: Duration,
    growth: Growth,
}

/// What happened beside the tasks.
#[derive(Debug)]
pub(crate) struct Told {
    /// Faults that hit.
    pub(crate) faults: BTreeMap<String, u64>,
    /// What the second tenant did.
    pub(crate) attacks: BTreeMap<String, u64>,
    /// Processes that ended by themselves.
    pub(crate) exits: Vec<String>,
    /// How long the tasks took.
    pub(crate) elapsed: Duration,
}

/// When the readers' records grew last.
struct Growth {
    bytes: [u64; 2],
    at: Instant,
}

impl<'a> Stage<'a> {
    /// Start the servers, and prepare the rest.
    pub(crate) async fn set(plan: &'a Plan) -> Result<Self> {
        let servers = Servers::start(plan).await?;
        let job = JobId::from_bytes(u128::from(plan.seed).to_be_bytes());
        prepare(plan, &servers, job).await?;
        let member = |name: &str, user| {
            let program = match user {
                User::Worker => &plan.worker,
                User::Operator | User::Judged | User::Attacking => &plan.program,
            };
            Member::new(name, user, program, &plan.folder, &servers)
        };
        let workers = (0..WORKERS).map(|number| {
            let mut worker = member(&format!("worker {number}"), User::Worker)?;
            worker.skew(&plan.clock)?;
            Ok(worker)
        });
        let workers = workers.collect::<Result<Vec<_>>>()?;
        let submitter = member("submitter", User::Judged)?;
        let reader = member("reader", User::Judged)?;
        let mapper = member("mapper", User::Judged)?;
        let grapher = member("grapher", User::Judged)?;
        let attacker = member("attacker", User::Attacking)?;
        let mut log = Log::create(&plan.folder.join("driver.jsonl"))?;
        log.write([Record::Planned {
            tasks: plan.work.tasks,
        }])?;
        let started = Instant::now();
        Ok(Self {
            plan,
            job,
            servers,
            workers,
            submitter,
            reader,
            mapper,
            grapher,
            attacker,
            log,
            started,
            origin: started,
            under_way: Vec::new(),
            fillers: Fillers::default(),
            submitters: 0,
            recorded: 0,
            readers: 0,
            reader_from: 0,
            read_all: false,
            submitted_all: false,
            mapped_all: false,
            graphed_all: false,
            // Its own numbers: how often somebody reads does not change the schedule.
            random: Random(!plan.seed),
            faults: BTreeMap::new(),
            exits: Vec::new(),
            elapsed: Duration::ZERO,
            growth: Growth {
                bytes: [0; 2],
                at: started,
            },
        })
    }

    /// Run until all is read.
    pub(crate) async fn play(&mut self) -> Result<()> {
        self.start_workers().await?;
        self.warm_up().await?;
        self.started = Instant::now();
        self.origin = self.started;
        self.growth.at = self.started;
        self.start_submitter()?;
        self.start_reader(0)?;
        self.start_mapper()?;
        self.start_grapher()?;
        self.start_attacker()?;
        let mut schedule = Schedule::new(
            self.plan.seed,
            self.plan.scenario,
            self.plan.form,
            self.plan.interval,
            self.plan.lease,
        )
        .peekable();
        while !self.is_over() {
            let begins = schedule.peek().map(|fault| fault.at);
            let ends = self.under_way.iter().map(|(until, ..)| *until).min();
            match (begins, ends) {
                (begins, Some(ends)) if begins.is_none_or(|begins| ends <= begins) => {
                    if self.wait_until(ends).await? {
                        let before = Instant::now();
                        self.end_next().await?;
                        self.late_since(before);
                    }
                }
                (Some(begins), _) => {
                    if self.wait_until(begins).await?
                        && let Some(fault) = schedule.next()
                    {
                        let before = Instant::now();
                        self.begin(fault).await?;
                        self.late_since(before);
                    }
                }
                (None, _) => bail!("the schedule has an end"),
            }
        }
        self.elapsed = self.started.elapsed();
        while !self.under_way.is_empty() {
            self.end_next().await?;
        }
        self.end_fillers().await?;
        self.read_once_more().await
    }

    fn is_over(&self) -> bool {
        self.read_all && self.submitted_all && self.mapped_all && self.graphed_all
    }

    async fn start_workers(&mut self) -> Result<()> {
        for worker in &mut self.workers {
            // One for all, so that a worker that starts again need not compile.
            let (urls, cache) = (worker.urls(), self.plan.folder.join("cache"));
            let concurrency = self.plan.concurrency.to_string();
            let arguments = [
                "worker",
                "--broker",
                &urls,
                "--concurrency",
                &concurrency,
                "--health",
                "127.0.0.1:0",
            ];
            let arguments =
                arguments
                    .into_iter()
                    .chain(["--give-up-after", GIVE_UP_AFTER, "--cache"]);
            worker.start(arguments.map(Into::into).chain([cache.into_os_string()]))?;
        }
        let deadline = Instant::now() + patience();
        for worker in &mut self.workers {
            let ready = async {
                while !worker.program.tail(LINES_SHOWN).contains("ready") {
                    let ended = worker.child.as_mut().and_then(|child| child.ended());
                    ensure!(
                        ended.is_none(),
                        "{} ended: {}",
                        worker.name,
                        worker.program.tail(LINES_SHOWN)
                    );
                    sleep(LOOK).await;
                }
                Ok(())
            };
            let said = timeout_at(deadline, ready).await;
            said.with_context(|| {
                format!("{} was not ready within {:?}", worker.name, patience())
            })??;
        }
        Ok(())
    }

    /// Have one task run, so that the component is compiled before anything goes wrong. With leases
    /// of two seconds that takes as long as a lease or two.
    async fn warm_up(&self) -> Result<()> {
        let broker = common::connect(&User::Judged.urls(&self.servers.urls())).await?;
        let record = broker
            .job(work::key(self.job))
            .await?
            .context("the job is not known")?;
        let key = work::key(JobId::from_bytes(
            (!u128::from(self.plan.seed)).to_be_bytes(),
        ));
        broker
            .put_job(Job { key, ..record.job }, common::now())
            .await?;
        let mut events = broker.follow(key, 0).await?;
        let tasks = vec![
            Work {
                poison: None,
                ..self.plan.work
            }
            .task(0),
        ];
        broker
            .publish(Bundle {
                job: key,
                attempts_before: 0,
                lost_before: 0,
                published: common::now(),
                tasks,
            })
            .await?;
        let first = async {
            loop {
                match events.next().await {
                    Some(Event::CaughtUp(_) | Event::Submitting | Event::Sealed(_)) => {}
                    event => return event,
                }
            }
        };
        let ran = timeout(patience(), first).await;
        ensure!(
            matches!(ran, Ok(Some(Event::Outcomes(..)))),
            "no task ran within {:?}; {}",
            patience(),
            self.state()
        );
        broker.forget(key).await?;
        Ok(broker.close().await?)
    }

    fn start_submitter(&mut self) -> Result<()> {
        let file = self.file("submitter", self.submitters);
        let mut arguments = self.part("submit", &self.submitter, &file);
        arguments.extend(of_work(self.plan.work, self.plan.pace));
        arguments.extend(numbers([
            ("--bundle", self.plan.bundle),
            ("--recorded", self.recorded),
        ]));
        self.submitter.start(arguments)
    }

    fn start_mapper(&mut self) -> Result<()> {
        let plan = self.plan;
        let folder = plan.folder.join(MAPPED);
        std::fs::create_dir_all(&folder)?;
        let work = Work {
            tasks: plan.work.tasks.div_ceil(MAPPED_SHARE),
            ..plan.work
        };
        // As long as the submitter takes.
        let pace = plan.pace * u32::try_from(MAPPED_SHARE)? / u32::try_from(plan.bundle)?;
        let mut arguments = ["map", "--broker", &self.mapper.urls(), "--folder"]
            .map(str::to_owned)
            .to_vec();
        arguments.push(folder.display().to_string());
        arguments.extend(of_work(work, pace));
        self.mapper.start(arguments)
    }

    fn start_grapher(&mut self) -> Result<()> {
        let plan = self.plan;
        let folder = plan.folder.join(GRAPHED);
        std::fs::create_dir_all(&folder)?;
        let mut arguments = ["graph", "--broker", &self.grapher.urls(), "--folder"]
            .map(str::to_owned)
            .to_vec();
        arguments.push(folder.display().to_string());
        arguments.extend(numbers([
            ("--tasks", plan.graph_tasks as u64),
            ("--seed", plan.seed),
            ("--pace-micros", u64::try_from(plan.graph_pace.as_micros())?),
        ]));
        self.grapher.start(arguments)
    }

    /// It adds its password itself.
    fn start_attacker(&mut self) -> Result<()> {
        let file = self.plan.folder.join(ATTACKS).display().to_string();
        let pace = u64::try_from(self.plan.attack_pace.as_micros())?;
        let mut arguments = [
            "attack",
            "--broker",
            &self.attacker.network.urls(),
            "--victim",
            &self.job.to_string(),
            "--file",
            &file,
        ]
        .map(str::to_owned)
        .to_vec();
        arguments.extend(numbers([("--pace-micros", pace)]));
        self.attacker.start(arguments)
    }

    fn start_reader(&mut self, from: u64) -> Result<()> {
        self.log.write([Record::Reading {
            reader: self.readers,
            from,
        }])?;
        self.reader_from = from;
        // A reader that starts from the beginning uses the client, as a user's program does.
        let through = if from == 0 {
            Through::Client
        } else {
            Through::Broker
        };
        let arguments = self.reading(from, through);
        self.reader.start(arguments)
    }

    fn reading(&self, from: u64, through: Through) -> Vec<String> {
        let mut arguments = self.part("read", &self.reader, &self.file("reader", self.readers));
        arguments.extend(["--through".to_owned(), name_of(through)]);
        arguments.extend(numbers([
            ("--reader", u64::from(self.readers)),
            ("--from", from),
            ("--tasks", self.plan.work.tasks),
        ]));
        arguments
    }

    fn part(&self, name: &str, member: &Member, file: &Path) -> Vec<String> {
        let file = file.display().to_string();
        [
            name,
            "--broker",
            &member.urls(),
            "--job",
            &self.job.to_string(),
            "--file",
            &file,
        ]
        .map(str::to_owned)
        .to_vec()
    }

    fn file(&self, name: &str, number: u32) -> PathBuf {
        self.plan.folder.join(format!("{name}-{number}.jsonl"))
    }

    /// Look after everybody until then. False if the run is over before.
    async fn wait_until(&mut self, at: Duration) -> Result<bool> {
        let at = self.origin + at;
        loop {
            self.look_after()?;
            self.collect_fillers().await?;
            if self.is_over() {
                return Ok(false);
            }
            let now = Instant::now();
            if now >= at {
                return Ok(true);
            }
            sleep_until(at.min(now + LOOK)).await;
        }
    }

    /// Start again who ended, note who is done, and see that the run gets on.
    fn look_after(&mut self) -> Result<()> {
        for number in 0..self.workers.len() {
            let worker = &mut self.workers[number];
            let Some(status) = worker.child.as_mut().and_then(|child| child.ended()) else {
                continue;
            };
            let what = format!(
                "{} ended by itself, {status}: {}",
                worker.name,
                worker.program.tail(1)
            );
            worker.restart()?;
            let at_ms = self.now_ms();
            self.log.write([Record::Exited {
                at_ms,
                code: status.code(),
                what: what.clone(),
            }])?;
            self.exits.push(what);
        }
        self.read_all |= has_done(&mut self.reader)?;
        self.submitted_all |= has_done(&mut self.submitter)?;
        self.mapped_all |= has_done(&mut self.mapper)?;
        self.graphed_all |= has_done(&mut self.grapher)?;
        ensure!(
            !has_done(&mut self.attacker)?,
            "the attacker ended: {}",
            self.attacker.program.tail(LINES_SHOWN)
        );
        self.check_growth()
    }

    fn check_growth(&mut self) -> Result<()> {
        let length = |path: PathBuf| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        let bytes = [
            length(self.file("reader", self.readers)),
            length(self.plan.folder.join(MAPPED).join("outcomes.jsonl")),
        ];
        let waits = [!self.read_all, !self.mapped_all];
        if (0..2).all(|place| bytes[place] != self.growth.bytes[place] || !waits[place]) {
            self.growth = Growth {
                bytes,
                at: Instant::now(),
            };
        }
        if self.growth.at.elapsed() > patience() {
            bail!("no outcome was seen for {:?}; {}", patience(), self.state());
        }
        Ok(())
    }

    /// Everybody who talks to the servers.
    fn members(&self) -> impl Iterator<Item = &Member> {
        self.workers
            .iter()
            .chain([&self.submitter, &self.reader, &self.mapper])
            .chain([&self.grapher, &self.attacker])
    }

    /// What follows in the schedule comes later by what was waited for since then.
    fn late_since(&mut self, then: Instant) {
        self.origin += then.elapsed();
    }

    fn succeed_submitter(&mut self) -> Result<()> {
        let records = history::read(&self.file("submitter", self.submitters))?;
        self.recorded += records
            .iter()
            .filter(|record| matches!(record, Record::Submitted { .. }))
            .count() as u64;
        self.submitters += 1;
        self.start_submitter()
    }

    fn succeed_reader(&mut self) -> Result<()> {
        let reader = self.readers;
        let records = history::read(&self.file("reader", reader))?;
        if records.contains(&Record::Read { reader }) {
            // It was killed when it had said everything.
            self.read_all = true;
            return Ok(());
        }
        let next = records.iter().rev().find_map(|record| match record {
            Record::Outcome { position, .. } => Some(position + 1),
            _ => None,
        });
        let next = next.unwrap_or(self.reader_from);
        self.log.write([Record::Killed { reader, at: next }])?;
        self.readers += 1;
        let from = if self.random.below(ANEW) == 0 {
            0
        } else {
            next
        };
        self.start_reader(from)
    }

    /// The reader that nobody disturbs.
    async fn read_once_more(&mut self) -> Result<()> {
        self.readers += 1;
        self.log.write([Record::Reading {
            reader: self.readers,
            from: 0,
        }])?;
        let arguments = self.reading(0, Through::BrokerAtEnd);
        self.reader.start(arguments)?;
        self.read_all = false;
        self.growth.at = Instant::now();
        while !self.read_all {
            self.look_after()?;
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// What happened beside the tasks.
    pub(crate) fn told(self) -> Result<Told> {
        Ok(Told {
            attacks: attack::counts(&self.plan.folder.join(ATTACKS))?,
            faults: self.faults,
            exits: self.exits,
            elapsed: self.elapsed,
        })
    }

    fn now_ms(&self) -> u64 {
        ms(self.started.elapsed())
    }

    /// What a person wants to know when nothing moves.
    fn state(&self) -> String {
        let mut text = format!(
            "all is read {}, submitted {}, mapped {}, looked at {}",
            self.read_all, self.submitted_all, self.mapped_all, self.graphed_all
        );
        for member in self.members() {
            let _infallible = write!(
                text,
                "\n{}, the end of its log:\n{}",
                member.name,
                member.program.tail(LINES_SHOWN)
            );
        }
        for server in self.servers.all() {
            let log = server.log();
            let skipped = log.lines().count().saturating_sub(LINES_SHOWN);
            let end: Vec<_> = log.lines().skip(skipped).collect();
            let _infallible = write!(
                text,
                "\n{}, the end of its log:\n{}",
                server.url(),
                end.join("\n")
            );
        }
        text
    }

    /// The servers' own folders go with them.
    pub(crate) fn keep_server_logs(&self) {
        for (number, server) in self.servers.all().enumerate() {
            // Only for a person who looks into the folder.
            let _ = std::fs::write(
                self.plan.folder.join(format!("server-{number}.log")),
                server.log(),
            );
        }
    }
}

/// Lay out the installation, and put what workers need: the component and the job.
async fn prepare(plan: &Plan, servers: &Servers, job: JobId) -> Result<()> {
    accounts::lay_out(plan, &servers.urls(), servers.count()).await?;
    let broker = common::connect(&User::Judged.urls(&servers.urls())).await?;
    let component = std::fs::read(sortie_harness::component(work::COMPONENT))?;
    let digest = Digest::of(&component);
    broker
        .put_component(digest, component.into())
        .await
        .context("failed to put the component")?;
    broker
        .put_job(work::job(work::key(job), digest), common::now())
        .await
        .context("failed to put the job")?;
    Ok(broker.close().await?)
}

/// Whether a process has done what it was started for.
fn has_done(member: &mut Member) -> Result<bool> {
    let Some(status) = member.child.as_mut().and_then(|child| child.ended()) else {
        return Ok(false);
    };
    member.child = None;
    ensure!(
        status.success(),
        "{} ended with {status}: {}",
        member.name,
        member.program.tail(LINES_SHOWN)
    );
    Ok(true)
}

/// What submitters and mappers are told of the tasks.
fn of_work(work: Work, pace: Duration) -> Vec<String> {
    let pace = u64::try_from(pace.as_micros()).unwrap_or(u64::MAX);
    let poison = work.poison.map_or(0, Into::into);
    numbers([
        ("--tasks", work.tasks),
        ("--rounds", work.rounds),
        ("--poison", poison),
        ("--pace-micros", pace),
    ])
}

fn numbers<const N: usize>(numbers: [(&str, u64); N]) -> Vec<String> {
    numbers
        .into_iter()
        .flat_map(|(name, number)| [name.to_owned(), number.to_string()])
        .collect()
}

/// As the command line takes it.
fn name_of(through: Through) -> String {
    through
        .to_possible_value()
        .map(|value| value.get_name().to_owned())
        .unwrap_or_default()
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

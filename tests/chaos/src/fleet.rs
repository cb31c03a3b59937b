//! The processes of a run, and what can be done to them.
//!
//! Servers are the harness's. Every other process reaches them only through proxies of its own, one
//! for each server, so that it alone can be cut off. A process that was to run and ended by itself
//! is started again, as an operator's supervisor does.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use sortie_harness::{NatsCluster, NatsServer, TcpProxy};
use tokio::time::timeout;

use crate::accounts::{self, User};
use crate::child::{Child, Program};
use crate::plan::Plan;
use crate::schedule::{Kind, Scenario, Target};
use crate::skew::SkewedClock;

/// How long the leader is looked for before another server is taken in its place.
const LEADER_TIME_MAX: Duration = Duration::from_secs(15);

/// The servers.
#[derive(Debug)]
pub(crate) enum Servers {
    One(Box<NatsServer>),
    Three(NatsCluster),
}

impl Servers {
    pub(crate) async fn start(plan: &Plan) -> Result<Self> {
        let server = accounts::server(plan)?;
        Ok(match plan.scenario {
            Scenario::Server => Self::One(Box::new(server.monitoring().start().await)),
            Scenario::Cluster => Self::Three(NatsCluster::start_with(3, server).await),
        })
    }

    /// How many there are, which is also how many copies they keep.
    pub(crate) fn count(&self) -> usize {
        self.all().count()
    }

    pub(crate) fn urls(&self) -> String {
        self.all()
            .map(NatsServer::url)
            .collect::<Vec<_>>()
            .join(",")
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        self.all().map(NatsServer::address).collect()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &NatsServer> {
        let count = match self {
            Self::One(_) => 1,
            Self::Three(_) => 3,
        };
        (0..count).map(|place| self.server(place))
    }

    pub(crate) fn server(&self, place: usize) -> &NatsServer {
        match self {
            Self::One(server) => server,
            Self::Three(cluster) => cluster.server(place),
        }
    }

    /// The server that a fault is on, by now; none if nobody leads what it is about.
    pub(crate) async fn place(&self, target: Target) -> Option<usize> {
        let Self::Three(cluster) = self else {
            return Some(0);
        };
        let leader = async {
            match target {
                Target::TasksLeader => cluster.leader_of_stream(TASKS_STREAM).await,
                Target::OutcomesLeader => cluster.leader_of_stream(OUTCOMES_STREAM).await,
                Target::ClusterLeader => cluster.leader_of_meta().await,
                Target::Server(place) => place,
                Target::Worker(_)
                | Target::Submitter
                | Target::Reader
                | Target::Mapper
                | Target::Grapher
                | Target::Queue
                | Target::Storage => 0,
            }
        };
        timeout(LEADER_TIME_MAX, leader).await.ok()
    }
}

/// Streams of the tenant that is judged.
const TASKS_STREAM: &str = "sortie-tasks-acme-0";
const OUTCOMES_STREAM: &str = "sortie-outcomes-acme";

/// A network of one process: a proxy for each server.
#[derive(Debug)]
pub(crate) struct Network(Vec<TcpProxy>);

impl Network {
    pub(crate) fn start(servers: &Servers) -> Self {
        Self(
            servers
                .addresses()
                .into_iter()
                .map(TcpProxy::start)
                .collect(),
        )
    }

    /// The way to one server.
    pub(crate) fn to(&self, server: usize) -> &TcpProxy {
        &self.0[server]
    }

    pub(crate) fn urls(&self) -> String {
        self.0
            .iter()
            .map(TcpProxy::url)
            .collect::<Vec<_>>()
            .join(",")
    }
}

/// A process that can be started again, and its network.
#[derive(Debug)]
pub(crate) struct Member {
    pub(crate) name: String,
    user: User,
    pub(crate) network: Network,
    pub(crate) program: Program,
    pub(crate) child: Option<Child>,
    /// What steps its time of day, if that is to be stepped.
    clock: Option<SkewedClock>,
    /// What it might have open before it was made short of that.
    descriptors: Option<u64>,
}

impl Member {
    pub(crate) fn new(
        name: &str,
        user: User,
        program: &Path,
        folder: &Path,
        servers: &Servers,
    ) -> Result<Self> {
        let home = folder.join(name.replace(' ', "-"));
        std::fs::create_dir_all(&home)?;
        let log = home.join("log");
        let program = Program {
            path: program.to_owned(),
            arguments: Vec::new(),
            variables: Vec::new(),
            home,
            log,
        };
        Ok(Self {
            name: name.to_owned(),
            user,
            network: Network::start(servers),
            program,
            child: None,
            clock: None,
            descriptors: None,
        })
    }

    /// From its start on its time of day can be stepped, by this library.
    pub(crate) fn skew(&mut self, library: &Path) -> Result<()> {
        let clock = SkewedClock::create(library, &self.program.home)?;
        self.program.variables = clock.variables();
        self.clock = Some(clock);
        Ok(())
    }

    /// Where it connects, with its password.
    pub(crate) fn urls(&self) -> String {
        self.user.urls(&self.network.urls())
    }

    pub(crate) fn start(
        &mut self,
        arguments: impl IntoIterator<Item = impl Into<OsString>>,
    ) -> Result<()> {
        self.program.arguments = arguments.into_iter().map(Into::into).collect();
        self.restart()
    }

    /// With the same arguments.
    pub(crate) fn restart(&mut self) -> Result<()> {
        self.child = Some(self.program.start()?);
        Ok(())
    }

    /// Begin what is done to the process. A kill is a kill only once: the caller, which knows the
    /// arguments, starts it again.
    pub(crate) fn begin(&mut self, kind: Kind) -> Result<()> {
        match kind {
            Kind::Kill => self.child = None,
            Kind::Pause => self.signal(Signal::STOP),
            Kind::Cut => self.network.0.iter().for_each(TcpProxy::cut),
            Kind::Stall => self.network.0.iter().for_each(TcpProxy::stall),
            Kind::Starve => {
                self.descriptors = self.child.as_ref().and_then(Child::starve);
                self.network.0.iter().for_each(TcpProxy::cut);
                self.network.0.iter().for_each(TcpProxy::mend);
            }
            Kind::Step(seconds) => self.step(seconds)?,
            Kind::Fill => bail!("there is nothing to fill in a process"),
        }
        Ok(())
    }

    /// End what [`begin`](Self::begin) began, except a kill.
    pub(crate) fn end(&mut self, kind: Kind) -> Result<()> {
        match kind {
            Kind::Kill | Kind::Fill => {}
            Kind::Pause => self.signal(Signal::CONT),
            Kind::Cut | Kind::Stall => self.network.0.iter().for_each(TcpProxy::mend),
            Kind::Starve => {
                if let (Some(child), Some(count)) = (&self.child, self.descriptors.take()) {
                    child.allow_open(count);
                }
            }
            Kind::Step(_) => self.step(0)?,
        }
        Ok(())
    }

    fn step(&self, seconds: i32) -> Result<()> {
        let clock = self.clock.as_ref();
        clock
            .with_context(|| format!("the clock of {} cannot be stepped", self.name))?
            .step(seconds)
    }

    fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child {
            child.signal(signal);
        }
    }
}

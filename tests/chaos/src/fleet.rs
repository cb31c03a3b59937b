//! The processes of a run, and what can be done to them.
//!
//! Servers are the harness's. Every other process reaches them only through proxies of its own, one
//! for each server, so that it alone can be cut off. A process that was to run and ended by itself
//! is started again, as an operator's supervisor does.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use rustix::process::Signal;
use sortie_harness::{NatsCluster, NatsServer, TcpProxy};
use tokio::time::timeout;

use crate::child::{Child, Program};
use crate::schedule::{Kind, Scenario, Target};

/// How long the leader is looked for before another server is taken in its place.
const LEADER_TIME_MAX: Duration = Duration::from_secs(15);

/// The servers.
#[derive(Debug)]
pub(crate) enum Servers {
    One(Box<NatsServer>),
    Three(NatsCluster),
}

impl Servers {
    pub(crate) async fn start(scenario: Scenario) -> Self {
        match scenario {
            Scenario::Server => {
                Self::One(Box::new(NatsServer::builder().monitoring().start().await))
            }
            Scenario::Cluster => Self::Three(NatsCluster::start(3).await),
        }
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
                Target::Worker(_) | Target::Submitter | Target::Reader | Target::Mapper => 0,
            }
        };
        timeout(LEADER_TIME_MAX, leader).await.ok()
    }
}

/// Streams of an installation with the default names.
const TASKS_STREAM: &str = "sortie-tasks-default-0";
const OUTCOMES_STREAM: &str = "sortie-outcomes-default";

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
    pub(crate) network: Network,
    pub(crate) program: Program,
    pub(crate) child: Option<Child>,
}

impl Member {
    pub(crate) fn new(
        name: &str,
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
            home,
            log,
        };
        Ok(Self {
            name: name.to_owned(),
            network: Network::start(servers),
            program,
            child: None,
        })
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
    pub(crate) fn begin(&mut self, kind: Kind) {
        match kind {
            Kind::Kill => self.child = None,
            Kind::Pause => self.signal(Signal::STOP),
            Kind::Cut => self.network.0.iter().for_each(TcpProxy::cut),
            Kind::Stall => self.network.0.iter().for_each(TcpProxy::stall),
        }
    }

    /// End what [`begin`](Self::begin) began, except a kill.
    pub(crate) fn end(&mut self, kind: Kind) {
        match kind {
            Kind::Kill => {}
            Kind::Pause => self.signal(Signal::CONT),
            Kind::Cut | Kind::Stall => self.network.0.iter().for_each(TcpProxy::mend),
        }
    }

    fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child {
            child.signal(signal);
        }
    }
}

//! `chaos`: a fleet under faults, for as long as a hundred thousand tasks take.
//!
//! The program of `tests/chaos` does it; this module builds it, with the servers, the functions,
//! the `sortie` command that it starts and the library that steps clocks. Where there is a release
//! build already it is brought up to date and used, else the everyday one: no second build of
//! everything is needed.
//! A short form of the same is among the tests.

use anyhow::Result;
use clap::ValueEnum;

use crate::project::Project;
use crate::{guests, setup};

/// What a run is to be like; the program has the defaults.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Seed of the random schedule of faults [default: chosen and printed]
    #[arg(long)]
    seed: Option<u64>,
    /// Number of tasks to run [default: 100000]
    #[arg(long)]
    tasks: Option<u64>,
    /// Which servers to run against [default: one server, then a cluster]
    #[arg(long, value_enum)]
    scenario: Option<Scenario>,
    /// Average time between two faults, in milliseconds [default: 2000]
    #[arg(long)]
    interval_ms: Option<u64>,
    /// Tasks per bundle; 1 disables bundling [default: 8]
    #[arg(long)]
    bundle: Option<u64>,
}

/// Which servers there are.
#[derive(Clone, Copy, ValueEnum)]
enum Scenario {
    /// One
    Server,
    /// A cluster of three
    Cluster,
}

/// Builds what is needed, then runs it.
pub(crate) fn run(project: &Project, arguments: &Arguments) -> Result<()> {
    setup::nats::run(project)?;
    guests::run(project, None)?;
    let is_released = project.binary("release", "sortie")?.is_file();
    let (profile, options) = if is_released {
        ("release", ["--release"].as_slice())
    } else {
        ("debug", [].as_slice())
    };
    project
        .cargo()
        .args(["build", "--workspace"])
        .args(options)
        .run()?;
    project
        .cmd(&project.binary(profile, "chaos")?.to_string_lossy())
        .args(arguments.passed_on())
        .run()
}

impl Arguments {
    fn passed_on(&self) -> Vec<String> {
        let scenario = self.scenario.map(|scenario| match scenario {
            Scenario::Server => "server".to_owned(),
            Scenario::Cluster => "cluster".to_owned(),
        });
        let number = |number: Option<u64>| number.map(|number| number.to_string());
        let options = [
            ("--seed", number(self.seed)),
            ("--tasks", number(self.tasks)),
            ("--scenario", scenario),
            ("--interval-ms", number(self.interval_ms)),
            ("--bundle", number(self.bundle)),
        ];
        options
            .into_iter()
            .filter_map(|(name, value)| Some([name.to_owned(), value?]))
            .flatten()
            .collect()
    }
}

//! `bench`: builds and runs one measurement.
//!
//! A measurement is a program of the root workspace, built in the release profile; this module only
//! knows its name. What is measured and how is said by the program.

use anyhow::{Result, bail};

use crate::guests;
use crate::project::Project;
use crate::setup;

/// What to measure.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Name of the benchmark [default: list all]
    name: Option<String>,
    /// Arguments that are passed to the benchmark
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

struct Bench {
    name: &'static str,
    /// What a person learns from it.
    about: &'static str,
    binary: &'static str,
    servers: Servers,
}

/// Whether a measurement needs a nats-server.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Servers {
    None,
    Nats,
}

const BENCHES: [Bench; 6] = [
    Bench {
        name: "dispatch",
        about: "empty tasks through the client, against a bare wasmtime loop on the same guest",
        binary: "dispatch",
        servers: Servers::None,
    },
    Bench {
        name: "fleet",
        about: "tasks through a nats-server and worker processes, against the server alone",
        binary: "fleet",
        servers: Servers::Nats,
    },
    Bench {
        name: "graphs",
        about: "tasks that take each other's results, in one process and over a fleet, against Dask",
        binary: "graphs",
        servers: Servers::Nats,
    },
    Bench {
        name: "objects",
        about: "PDFs and tars in an S3 server that is far away, with inputs fetched ahead and \
                without, against Dask",
        binary: "objects",
        servers: Servers::None,
    },
    Bench {
        name: "pdf",
        about: "text of a folder of PDFs, against other ways to do the same",
        binary: "pdf",
        servers: Servers::None,
    },
    Bench {
        name: "walls",
        about: "the memory of a worker under hostile work, and what an honest tenant has left \
                beside one that attacks",
        binary: "walls",
        servers: Servers::Nats,
    },
];

/// Runs the named measurement, or lists them.
pub(crate) fn run(project: &Project, arguments: &Arguments) -> Result<()> {
    let Some(name) = &arguments.name else {
        for bench in &BENCHES {
            println!("{:<10} {}", bench.name, bench.about);
        }
        return Ok(());
    };
    let Some(bench) = BENCHES.iter().find(|bench| bench.name == name) else {
        let names: Vec<_> = BENCHES.iter().map(|bench| bench.name).collect();
        bail!(
            "there is no measurement `{name}`: choose one of {}",
            names.join(", ")
        );
    };
    guests::run(project, None)?;
    if bench.servers == Servers::Nats {
        setup::nats::run(project)?;
    }
    project
        .cargo()
        .args(["build", "--release", "--workspace", "--bins"])
        .run()?;
    let program = project.binary("release", bench.binary)?;
    project
        .cmd(&program.to_string_lossy())
        .args(&arguments.rest)
        .run()
}

//! Functions over objects that are far away: an S3 server behind 30 ms and 40 MB/s for each
//! connection, one `sortie map` on two cores with inputs fetched ahead, without, and from disk,
//! where an earlier run left them; and Dask with two worker processes that read whole objects. All
//! in one run.
//!
//! Two jobs: the text of PDFs, a few hundred short objects; and a word in the PDFs of tars, a few
//! long ones. The server, the line and the contenders share this machine's cores, so what the
//! server takes is part of the limit: `max(CPU of all / cores, bytes / bandwidth)`.

use std::collections::BTreeMap;
use std::fs;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use serde_json::Value;
use sortie_bench::usage::{self, Usage};
use sortie_bench::{python, run};
use sortie_harness::{Link, S3Server, StoreProxy};

/// Measure reading objects.
#[derive(Parser)]
struct Options {
    /// A folder of PDFs; default `$SORTIE_CORPUS/pdf`, else the samples.
    #[arg(long)]
    folder: Option<PathBuf>,
    /// Number of copies of each PDF.
    #[arg(long, default_value_t = 16)]
    copies: usize,
    /// Number of tar files, each with all of the PDFs.
    #[arg(long, default_value_t = 16)]
    tars: usize,
    /// Alternating measurements of each contender; the median counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Simulated latency from a request to the first byte of its answer, in milliseconds.
    #[arg(long, default_value_t = 30)]
    latency_ms: u64,
    /// Simulated bandwidth of a connection, in megabytes per second.
    #[arg(long, default_value_t = 40)]
    megabytes_per_second: u64,
    /// Number of tasks that all read one object of 100 MB.
    #[arg(long, default_value_t = 1000)]
    readers: usize,
    /// Skip Dask, which needs Python and packages from PyPI.
    #[arg(long)]
    without_dask: bool,
    /// The folder of the programs.
    #[arg(long, default_value = "target/release")]
    programs: PathBuf,
}

const BUCKET: &str = "papers";
/// How inputs are read.
const AHEAD: [&str; 2] = ["--prefetch", "on"];
const ASKED: [&str; 2] = ["--prefetch", "off"];
const ON_DISK: [&str; 2] = ["--input-disk", "16GiB"];
const WORD: &str = "graph";
const CORES: f64 = 2.0;
/// The object that many tasks read.
const LARGE_BYTES: usize = 100_000_000;

/// One job, as both contenders do it.
struct Job {
    name: &'static str,
    component: &'static str,
    function: &'static str,
    pattern: &'static str,
    arguments: &'static [&'static str],
    keys: Vec<String>,
    bytes: u64,
}

/// What a contender took.
#[derive(Clone, Copy)]
struct Measured {
    took: Duration,
    /// Of its own processes; none where that is not known.
    cpu: Option<Duration>,
    /// Of the server and the line, which are threads of this process.
    server_cpu: Duration,
    memory_peak: u64,
    connections: u64,
    fetched: u64,
}

struct Stage {
    options: Options,
    scratch: PathBuf,
    proxy: StoreProxy,
    _server: S3Server,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let scratch = PathBuf::from("target/bench");
    fs::create_dir_all(&scratch)?;
    // What an earlier measurement left there.
    let _ = fs::remove_dir_all(scratch.join("cache/inputs"));
    let folder = tempfile::tempdir()?;
    let jobs = jobs(&options, &folder.path().join(BUCKET))?;
    let server = S3Server::start(folder.path());
    let link = Link {
        latency: Duration::from_millis(options.latency_ms),
        bytes_per_second: NonZeroU64::new(options.megabytes_per_second * 1_000_000),
    };
    let proxy = StoreProxy::start(server.address(), link);
    println!(
        "S3 behind {} ms and {} MB/s for each connection",
        options.latency_ms, options.megabytes_per_second
    );
    let stage = Stage {
        options,
        scratch,
        proxy,
        _server: server,
    };
    let python = if stage.options.without_dask {
        None
    } else {
        Some(python(
            &stage.scratch,
            &["dask[distributed]", "pymupdf", "boto3"],
        )?)
    };
    for job in &jobs {
        stage.race(job, python.as_deref())?;
    }
    fs::write(
        folder.path().join(BUCKET).join("large.bin"),
        vec![1; LARGE_BYTES],
    )?;
    stage.share()
}

/// The PDFs to lay out: those of a folder that was named, else of the corpus, else the samples.
fn sources(options: &Options) -> Result<(PathBuf, Vec<PathBuf>)> {
    let corpus = std::env::var_os("SORTIE_CORPUS")
        .map(|folder| PathBuf::from(folder).join("pdf"))
        .filter(|folder| folder.is_dir());
    let folder = options
        .folder
        .clone()
        .or(corpus)
        .unwrap_or_else(|| "examples/pdf-text/samples".into());
    let entries =
        fs::read_dir(&folder).with_context(|| format!("failed to list `{}`", folder.display()))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "pdf"));
    files.sort();
    ensure!(!files.is_empty(), "`{}` holds no PDFs", folder.display());
    Ok((folder, files))
}

/// Write the objects below the bucket: copies of each PDF, and tars of all.
fn lay_out(options: &Options, bucket: &Path) -> Result<()> {
    let (folder, files) = sources(options)?;
    let pdfs = bucket.join("pdf");
    let tars = bucket.join("tar");
    fs::create_dir_all(&pdfs)?;
    fs::create_dir_all(&tars)?;
    for copy in 0..options.copies {
        for file in &files {
            let name = file
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            fs::copy(file, pdfs.join(format!("{copy}-{name}")))?;
        }
    }
    let first = tars.join("0.tar");
    run(Command::new("tar")
        .arg("-cf")
        .arg(&first)
        .arg("-C")
        .arg(&folder)
        .args(files.iter().filter_map(|file| file.file_name())))?;
    for number in 1..options.tars {
        fs::copy(&first, tars.join(format!("{number}.tar")))?;
    }
    Ok(())
}

/// Lay out the objects, and say what is computed over them.
fn jobs(options: &Options, bucket: &Path) -> Result<Vec<Job>> {
    lay_out(options, bucket)?;
    let job = |name, component, function, pattern, arguments, folder: &str| -> Result<Job> {
        let mut keys = Vec::new();
        let mut bytes = 0;
        for entry in fs::read_dir(bucket.join(folder))? {
            let entry = entry?;
            keys.push(format!("{folder}/{}", entry.file_name().to_string_lossy()));
            bytes += entry.metadata()?.len();
        }
        keys.sort();
        Ok(Job {
            name,
            component,
            function,
            pattern,
            arguments,
            keys,
            bytes,
        })
    };
    Ok(vec![
        job(
            "text of PDFs",
            "pdf-text",
            "extract",
            "s3://papers/pdf/*.pdf",
            &[],
            "pdf",
        )?,
        job(
            "a word in tars",
            "arxiv-scan",
            "scan",
            "s3://papers/tar/*.tar",
            &["--arg", "word=graph"],
            "tar",
        )?,
    ])
}

impl Stage {
    fn race(&self, job: &Job, python: Option<&Path>) -> Result<()> {
        println!(
            "\n{}: {} objects, {:.1} MB",
            job.name,
            job.keys.len(),
            megabytes(job.bytes)
        );
        // Compiles the component.
        self.map(job, &AHEAD)?;
        let first = self.map(job, &ON_DISK)?;
        let mut all: BTreeMap<&str, Vec<Measured>> = BTreeMap::new();
        for _ in 0..self.options.rounds {
            all.entry("sortie map, prefetch on")
                .or_default()
                .push(self.map(job, &AHEAD)?);
            all.entry("sortie map, prefetch off")
                .or_default()
                .push(self.map(job, &ASKED)?);
            let again = self.map(job, &ON_DISK)?;
            ensure!(
                again.fetched == 0,
                "{} bytes were not on disk",
                again.fetched
            );
            all.entry("sortie map, again from disk")
                .or_default()
                .push(again);
            if let Some(python) = python {
                all.entry("Dask, two processes")
                    .or_default()
                    .push(self.dask(job, python)?);
            }
        }
        let ours = median(&all["sortie map, prefetch on"]);
        self.tell(
            job,
            "sortie map, first to disk",
            &first,
            ours.took.as_secs_f64(),
        );
        for (name, measured) in &all {
            let median = median(measured);
            self.tell(job, name, &median, ours.took.as_secs_f64());
        }
        Ok(())
    }

    fn tell(&self, job: &Job, name: &str, measured: &Measured, ours: f64) {
        let seconds = measured.took.as_secs_f64();
        let rate = megabytes(job.bytes) / seconds;
        println!(
            "{name:<28} {seconds:>6.2} s  {rate:>6.1} MB/s  {:>5.2} times as long as sortie  \
             connections {:>3}  fetched {:>6.1} MB",
            seconds / ours,
            measured.connections,
            megabytes(measured.fetched)
        );
        let Some(cpu) = measured.cpu else { return };
        let busy = (cpu + measured.server_cpu).as_secs_f64() / CORES;
        let bandwidth = measured.connections as f64 * self.options.megabytes_per_second as f64;
        let limit = busy.max(megabytes(job.bytes) / bandwidth);
        println!(
            "{:<28} cores busy {:.0} % ({:.0} % with the server)  {:.2} of the limit ({limit:.2} \
             s)  peak memory {:.0} MB",
            "",
            100.0 * cpu.as_secs_f64() / CORES / seconds,
            100.0 * busy / seconds,
            limit / seconds,
            megabytes(measured.memory_peak)
        );
    }

    /// Many tasks of one worker that each read the whole of one object.
    fn share(&self) -> Result<()> {
        let readers = self.options.readers;
        println!(
            "\none object of {:.0} MB, read by {readers} tasks of one worker",
            LARGE_BYTES as f64 / 1e6
        );
        let list = self.scratch.join("readers.txt");
        fs::write(&list, format!("s3://{BUCKET}/large.bin\n").repeat(readers))?;
        let mut command = self.command("behaviours", "sum_of");
        command.arg("--inputs").arg(&list);
        let measured = self.measure(command)?;
        let text = fs::read_to_string(self.output())?;
        let sum = format!("[{LARGE_BYTES},{LARGE_BYTES}]");
        ensure!(
            text.lines().filter(|line| line.contains(&sum)).count() == readers,
            "a task read something else"
        );
        let fetched = measured.fetched as f64 / LARGE_BYTES as f64;
        println!(
            "{:.1} s, {:.1} GB read by tasks, {:.1} MB fetched: {fetched:.3} times the object; \
             peak memory {:.0} MB",
            measured.took.as_secs_f64(),
            readers as f64 * LARGE_BYTES as f64 / 1e9,
            megabytes(measured.fetched),
            megabytes(measured.memory_peak)
        );
        Ok(())
    }

    fn output(&self) -> PathBuf {
        self.scratch.join("objects.jsonl")
    }

    fn command(&self, component: &str, function: &str) -> Command {
        let (id, secret) = S3Server::KEYS;
        let mut command = Command::new(self.options.programs.join("sortie"));
        command
            .arg("map")
            .arg(format!("target/components/{component}.wasm"))
            .arg(function);
        command
            .args(["--fresh", "--progress", "off"])
            .arg("--cache")
            .arg(self.scratch.join("cache"))
            .arg("-o")
            .arg(self.output());
        command
            .env("AWS_ENDPOINT_URL", self.proxy.endpoint())
            .env("AWS_ACCESS_KEY_ID", id)
            .env("AWS_SECRET_ACCESS_KEY", secret);
        command
    }

    fn map(&self, job: &Job, reading: &[&str]) -> Result<Measured> {
        let mut command = self.command(job.component, job.function);
        command.arg(job.pattern).args(job.arguments).args(reading);
        let measured = self.measure(command)?;
        self.check(job, &self.output())?;
        Ok(measured)
    }

    fn measure(&self, mut command: Command) -> Result<Measured> {
        self.proxy.forget();
        let server = usage::own();
        let began = Instant::now();
        let child = command
            .stderr(Stdio::null())
            .spawn()
            .context("failed to start `sortie`; build it with --release")?;
        let (status, Usage { cpu, memory_peak }) = usage::wait(child)?;
        let took = began.elapsed();
        ensure!(
            matches!(status.code(), Some(0 | 1)),
            "`sortie map` ended with {status}"
        );
        let counts = self.proxy.counts();
        Ok(Measured {
            took,
            cpu: Some(cpu),
            server_cpu: usage::own() - server,
            memory_peak,
            connections: counts.connections_max,
            fetched: counts
                .objects
                .values()
                .map(|object| object.body_bytes)
                .sum(),
        })
    }

    /// All results are there, and no object was unreadable.
    fn check(&self, job: &Job, output: &Path) -> Result<()> {
        let text = fs::read_to_string(output)?;
        ensure!(
            text.lines().count() == job.keys.len(),
            "{} results for {} objects",
            text.lines().count(),
            job.keys.len()
        );
        for line in text.lines() {
            let line: Value = serde_json::from_str(line)?;
            ensure!(
                line["error"]["blame"] != "input" && line["error"]["blame"] != "platform",
                "an object was not read: {line}"
            );
        }
        Ok(())
    }

    fn dask(&self, job: &Job, python: &Path) -> Result<Measured> {
        self.proxy.forget();
        let (id, secret) = S3Server::KEYS;
        let kind = if job.function == "scan" {
            "scan"
        } else {
            "text"
        };
        let server = usage::own();
        let output = Command::new(python)
            .args([
                "bench/dask_objects.py",
                &self.proxy.endpoint(),
                BUCKET,
                kind,
                WORD,
            ])
            .args(&job.keys)
            // Workers import the script by its name.
            .env("PYTHONPATH", std::env::current_dir()?.join("bench"))
            .env("AWS_ACCESS_KEY_ID", id)
            .env("AWS_SECRET_ACCESS_KEY", secret)
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [_, seconds, _, _] = *fields else {
            bail!("Dask said: {}", String::from_utf8_lossy(&output.stderr))
        };
        let counts = self.proxy.counts();
        Ok(Measured {
            took: Duration::from_secs_f64(seconds.parse()?),
            cpu: None,
            server_cpu: usage::own() - server,
            memory_peak: 0,
            connections: counts.connections_max,
            fetched: counts
                .objects
                .values()
                .map(|object| object.body_bytes)
                .sum(),
        })
    }
}

fn median(measured: &[Measured]) -> Measured {
    let mut sorted = measured.to_vec();
    sorted.sort_by_key(|measured| measured.took);
    sorted[sorted.len() / 2]
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

//! The command line of `sortie map`.

use std::path::PathBuf;

use clap::Args;

use super::broker::BrokerOptions;
use super::host::HostOptions;
use super::pipeline::PipelineOptions;
use super::progress::ProgressKind;
use super::task::{Fixed, TaskOptions};

/// `sortie map`.
#[derive(Debug, Args)]
pub(crate) struct Map {
    /// The component: a .wasm file
    pub(crate) component: PathBuf,
    /// The function's name, as `sortie inspect` shows it
    pub(crate) function: String,
    /// Inputs, one task each (for a pattern, one task for each matching file)
    ///
    /// For an object parameter: a path, a pattern (*, ?, [...] within a path segment, ** across
    /// segments; quote it), or a URL (s3://, gs:// and az:// with patterns too, https://, http://,
    /// file://). For a value parameter: a JSON value; text that is not JSON is taken as a string;
    /// write '"42"' for the string 42. For a list of objects: a pattern, which is one list, or a
    /// JSON array of paths, patterns and URLs. If --arg leaves more than one parameter unset: a
    /// JSON array with a value for each of them.
    #[arg(value_name = "INPUT", allow_negative_numbers = true)]
    pub(crate) inputs: Vec<String>,
    /// Read inputs from a file, one per line; `-` is standard input
    ///
    /// Lines are read while tasks run, and empty lines are skipped. A file is checked before the
    /// first task starts; an invalid line of standard input ends the run when it is reached.
    #[arg(long = "inputs", value_name = "FILE", conflicts_with = "inputs")]
    pub(crate) lines: Option<PathBuf>,
    /// Take each input for the name of one object, whatever is in it: no patterns, no ranges and
    /// no versions
    #[arg(long)]
    pub(crate) literal: bool,
    #[command(flatten)]
    pub(crate) pipeline: PipelineOptions,
    #[command(flatten)]
    pub(crate) fixed: Fixed,
    /// Write results here instead of to standard output: to a file, or to an object such as
    /// s3://BUCKET/KEY.parquet; `-` is standard output
    ///
    /// The extension says how: .csv, .tsv and .parquet are tables, .jsonl and others JSON lines;
    /// .gz or .zst behind compresses all but Parquet. What is there is replaced, when everything
    /// else has been checked. Lines and rows are added to a file as they come: whatever ends the
    /// run, those written stay. A Parquet file appears when the run ends, interrupted or not; an
    /// object in a store when all results are there.
    ///
    /// With braces it names the objects that tasks make, as in 's3://BUCKET/{stem}.png': {stem} is
    /// the input's name without folders and extension, {index} its position, {digest} the SHA-256
    /// of the object. Each object is copied there when its task has ended, and results say so. Both
    /// may be given: one -o for results, another for names.
    #[arg(short, long, value_name = "FILE|URL")]
    pub(crate) output: Vec<PathBuf>,
    /// Write results in the order of the inputs instead of as they come
    ///
    /// Results that wait for an earlier one are held in memory: at most 16384 of them or 64 MiB;
    /// then no further inputs are taken until the earlier result arrives.
    #[arg(long)]
    pub(crate) ordered: bool,
    /// How progress is shown on standard error
    #[arg(long, value_enum, default_value_t = ProgressKind::Auto, value_name = "HOW")]
    pub(crate) progress: ProgressKind,
    /// Submit the job to the fleet, print its name and exit; `sortie job gather` writes its results
    #[arg(long, conflicts_with_all = ["output", "ordered"])]
    pub(crate) detach: bool,
    #[command(flatten)]
    pub(crate) task: TaskOptions,
    #[command(flatten)]
    pub(crate) host: HostOptions,
    #[command(flatten)]
    pub(crate) broker: BrokerOptions,
}

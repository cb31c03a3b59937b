//! One run, from a plan to a verdict.
//!
//! A run fails with an error when the fleet does not start, gets stuck or writes what is no record;
//! what was lost is the verdict's matter. The folder with all records and logs is the caller's
//! to keep or remove.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::attack;
use crate::checker::{Checker, Verdict};
use crate::grapher::{self, Seen};
use crate::history;
use crate::plan::Plan;
use crate::schedule;
use crate::stage::{GRAPHED, MAPPED, Stage, Told};

/// What came of a run.
#[derive(Debug)]
pub struct Report {
    /// The judge's word on the job that is submitted, and read by many.
    pub verdict: Verdict,
    /// The judge's word on the job that is mapped.
    pub mapped: Verdict,
    /// What the tasks returned that take each other's results.
    pub graphed: Seen,
    /// How many of these there were.
    pub graph_tasks: usize,
    /// Faults that hit, by kind and by what they hit.
    pub faults: BTreeMap<String, u64>,
    /// What the second tenant did.
    pub attacks: BTreeMap<String, u64>,
    /// Faults and attacks that had to come and did not: the run was too short to say anything.
    pub missing: Vec<String>,
    /// Processes that ended by themselves, and how.
    pub exits: Vec<String>,
    /// From the first task to the last outcome.
    pub elapsed: Duration,
}

impl Report {
    /// Whether nothing is wrong, and everything was tried that had to be.
    pub fn is_good(&self) -> bool {
        self.verdict.is_good()
            && self.mapped.is_good()
            && self.graphed.wrong.is_empty()
            && self.missing.is_empty()
            && self.verdict.retried + self.mapped.retried > 0
    }
}

/// Run a plan to its end.
///
/// # Errors
/// When the fleet does not start, gets stuck, or writes what is no record.
pub async fn run(plan: &Plan) -> Result<Report> {
    let mut stage = Stage::set(plan).await?;
    let done = stage.play().await;
    stage.keep_server_logs();
    if let Err(error) = done {
        // What was seen until then says more than that nothing came any more.
        let said = |folder: &Path| {
            judge(folder).map_or_else(|error| format!("{error:#}"), |verdict| verdict.to_string())
        };
        let (submitted, mapped) = (said(&plan.folder), said(&plan.folder.join(MAPPED)));
        return Err(error.context(format!(
            "the run did not end; until then, submitted and read: {submitted}; mapped: {mapped}"
        )));
    }
    let Told {
        faults,
        attacks,
        exits,
        elapsed,
    } = stage.told()?;
    let essential = schedule::essentials(plan.seed, plan.scenario, plan.form)
        .into_iter()
        .map(|(target, kind)| schedule::name(target, kind));
    let missing = essential
        .filter(|name| !faults.contains_key(name))
        .chain(attack::names().filter(|name| !attacks.contains_key(name)))
        .collect();
    Ok(Report {
        verdict: judge(&plan.folder)?,
        mapped: judge(&plan.folder.join(MAPPED))?,
        graphed: grapher::seen(&plan.folder.join(GRAPHED))?,
        graph_tasks: plan.graph_tasks,
        faults,
        attacks,
        missing,
        exits,
        elapsed,
    })
}

/// Judge what a run left in its folder.
///
/// # Errors
/// When there is what is no record.
pub fn judge(folder: &Path) -> Result<Verdict> {
    let mut checker = Checker::default();
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("failed to list `{}`", folder.display()))?;
    for entry in entries {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "jsonl")
        {
            history::read(&path)?
                .iter()
                .for_each(|record| checker.take(record));
        }
    }
    Ok(checker.conclude())
}

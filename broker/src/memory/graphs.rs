//! The graphs of open jobs, and who coordinates them.

use std::collections::HashMap;

use sortie_protocol::{GraphEntry, JobKey, Term};

use crate::traits::{Claimed, Error, GRAPH_BYTES_MAX};

/// The graphs of all jobs that have one.
#[derive(Debug, Default)]
pub(super) struct Graphs {
    jobs: HashMap<JobKey, Graph>,
    versions: u64,
}

#[derive(Debug, Default)]
struct Graph {
    entries: Vec<GraphEntry>,
    bytes: usize,
    claimed: Option<Claimed>,
}

impl Graphs {
    pub(super) fn append(&mut self, job: JobKey, entries: Vec<GraphEntry>) {
        let graph = self.jobs.entry(job).or_default();
        graph.bytes += entries.iter().map(GraphEntry::weight).sum::<usize>();
        graph.entries.extend(entries);
    }

    pub(super) fn entries(&self, job: JobKey) -> Result<Vec<GraphEntry>, Error> {
        match self.jobs.get(&job) {
            Some(graph) if graph.bytes > GRAPH_BYTES_MAX => Err(Error::TooLarge {
                weight: graph.bytes,
                limit: GRAPH_BYTES_MAX,
            }),
            Some(graph) => Ok(graph.entries.clone()),
            None => Ok(Vec::new()),
        }
    }

    pub(super) fn claim(&mut self, job: JobKey, term: Term, after: Option<u64>) -> Option<u64> {
        let graph = self.jobs.entry(job).or_default();
        if graph.claimed.map(|claimed| claimed.version) != after {
            return None;
        }
        self.versions += 1;
        let version = self.versions;
        graph.claimed = Some(Claimed { term, version });
        Some(version)
    }

    pub(super) fn claimed(&self, job: JobKey) -> Option<Claimed> {
        self.jobs.get(&job)?.claimed
    }

    pub(super) fn all_claimed(&self) -> Vec<(JobKey, Claimed)> {
        let jobs = self.jobs.iter();
        jobs.filter_map(|(job, graph)| Some((*job, graph.claimed?)))
            .collect()
    }

    pub(super) fn drop(&mut self, job: JobKey) {
        self.jobs.remove(&job);
    }
}

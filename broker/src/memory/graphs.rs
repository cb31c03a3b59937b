//! The graphs of open jobs, and who coordinates them.

use std::collections::HashMap;

use async_trait::async_trait;
use sortie_protocol::{GraphEntry, JobKey, TaskIndex, Term};

use super::MemoryBroker;
use crate::traits::{Claimed, Coordinate, Error, GRAPH_BYTES_MAX};

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

#[async_trait]
impl Coordinate for MemoryBroker {
    fn outlives_process(&self) -> bool {
        false
    }

    async fn append_graph(&self, job: JobKey, entries: Vec<GraphEntry>) -> Result<(), Error> {
        self.shared.state.lock().graphs.append(job, entries);
        Ok(())
    }

    async fn graph(&self, job: JobKey) -> Result<Vec<GraphEntry>, Error> {
        self.shared.state.lock().graphs.entries(job)
    }

    async fn unfinished_tasks(&self, job: JobKey) -> Result<Vec<TaskIndex>, Error> {
        Ok(self.shared.state.lock().queue.unfinished_tasks(job))
    }

    async fn claim(
        &self,
        job: JobKey,
        term: Term,
        after: Option<u64>,
    ) -> Result<Option<u64>, Error> {
        Ok(self.shared.state.lock().graphs.claim(job, term, after))
    }

    async fn claimed(&self, job: JobKey) -> Result<Option<Claimed>, Error> {
        Ok(self.shared.state.lock().graphs.claimed(job))
    }

    async fn all_claimed(&self) -> Result<Vec<(JobKey, Claimed)>, Error> {
        Ok(self.shared.state.lock().graphs.all_claimed())
    }

    async fn drop_graph(&self, job: JobKey) -> Result<(), Error> {
        self.shared.state.lock().graphs.drop(job);
        Ok(())
    }
}

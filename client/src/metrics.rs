//! The metrics of a client: names, units and help texts, and their instruments.

use sortie_protocol::Outcome;
use sortie_protocol::metric::{Counter, EndingCounter, Metric, Sample, Times};

/// Counts tasks that the broker accepted.
pub const SUBMITTED: Metric = Metric::counter(
    "sortie_client_submitted_tasks_total",
    "Tasks that the broker confirmed; one that ran right after the task whose result it takes was not sent.",
);
/// Counts outcomes received.
pub const ENDED: Metric = Metric::counter(
    "sortie_client_ended_tasks_total",
    "Outcomes received for followed jobs, by blame and code.",
);
/// Counts attempts of the tasks that ended.
pub const ATTEMPTS: Metric = Metric::counter(
    "sortie_client_attempts_total",
    "Attempts that the tasks with a received outcome took.",
);
/// Times waiting for a worker.
pub const QUEUE: Metric = Metric::histogram(
    "sortie_client_task_queue_seconds",
    "Time from publishing a task to starting its last attempt, as its worker billed it.",
);
/// Times running.
pub const RUN: Metric = Metric::histogram(
    "sortie_client_task_run_seconds",
    "Time that the last attempt of a task ran, as its worker billed it.",
);
/// Times computing.
pub const CPU: Metric = Metric::histogram(
    "sortie_client_task_cpu_seconds",
    "CPU time of the last attempt of a task, as its worker billed it.",
);

/// Counts and times what a client submits and receives, from its start.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    submitted: Counter,
    ended: EndingCounter,
    attempts: Counter,
    queue: Times,
    run: Times,
    cpu: Times,
}

impl Metrics {
    /// The broker accepted this many tasks.
    pub(crate) fn submitted(&self, tasks: u64) {
        self.submitted.add(tasks);
    }

    /// Outcomes were received. Cached results did not run.
    pub(crate) fn ended(&self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            self.ended.add(&outcome.ending);
            self.attempts.add(outcome.attempts.into());
            self.queue.observe(outcome.bill.queue);
            if !outcome.bill.cached {
                self.run.observe(outcome.bill.run);
                self.cpu.observe(outcome.bill.cpu);
            }
        }
    }

    /// A reading of all of it.
    pub(crate) fn read(&self) -> Vec<Sample> {
        let mut samples = vec![self.submitted.read(&SUBMITTED)];
        samples.extend(self.ended.read(&ENDED));
        samples.extend([
            self.attempts.read(&ATTEMPTS),
            self.queue.read(&QUEUE),
            self.run.read(&RUN),
            self.cpu.read(&CPU),
        ]);
        samples
    }
}

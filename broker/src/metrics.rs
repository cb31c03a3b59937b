//! The metrics of a process's connection to a NATS broker: names, units and help texts, and their
//! instruments.

use sortie_protocol::metric::{Counter, Metric, Sample, Times};

/// Times requests that were answered.
pub const ANSWER: Metric = Metric::histogram(
    "sortie_broker_answer_seconds",
    "Time from a request to the broker's answer.",
);
/// Counts requests without an answer.
pub const UNANSWERED: Metric = Metric::counter(
    "sortie_broker_unanswered_total",
    "Requests that the broker did not answer in time, or that the connection did not carry.",
);
/// Counts retries.
pub const REPEATED: Metric = Metric::counter(
    "sortie_broker_repeated_total",
    "Requests repeated because the broker was away, full or electing a leader.",
);
/// Counts connections.
pub const CONNECTIONS: Metric = Metric::counter(
    "sortie_broker_connections_total",
    "Connections made to a server, the first included.",
);
/// Counts new bundles.
pub const PUBLISHED: Metric = Metric::counter(
    "sortie_broker_published_bundles_total",
    "Bundles published by this process as a submitter.",
);
/// Counts bundles that are handed back.
pub const RETURNED: Metric = Metric::counter(
    "sortie_broker_returned_bundles_total",
    "Bundles handed back by this process: retries, splits and released leases.",
);
/// Counts grants.
pub const LEASED: Metric = Metric::counter(
    "sortie_broker_leased_bundles_total",
    "Bundles leased by this process.",
);
/// Counts stored outcomes.
pub const OUTCOMES: Metric = Metric::counter(
    "sortie_broker_reported_tasks_total",
    "Outcomes stored by this process; a task that ran twice may count twice.",
);
/// Counts dead letters.
pub const DEAD_LETTERS: Metric = Metric::counter(
    "sortie_broker_dead_letters_total",
    "Dead letters stored by this process.",
);

/// The metrics of a connection, from the start of the process.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) answer: Times,
    pub(crate) unanswered: Counter,
    pub(crate) repeated: Counter,
    pub(crate) connections: Counter,
    pub(crate) published: Counter,
    pub(crate) returned: Counter,
    pub(crate) leased: Counter,
    pub(crate) outcomes: Counter,
    pub(crate) dead_letters: Counter,
}

impl Metrics {
    /// A reading of all of it.
    pub(crate) fn read(&self) -> Vec<Sample> {
        vec![
            self.answer.read(&ANSWER),
            self.unanswered.read(&UNANSWERED),
            self.repeated.read(&REPEATED),
            self.connections.read(&CONNECTIONS),
            self.published.read(&PUBLISHED),
            self.returned.read(&RETURNED),
            self.leased.read(&LEASED),
            self.outcomes.read(&OUTCOMES),
            self.dead_letters.read(&DEAD_LETTERS),
        ]
    }
}

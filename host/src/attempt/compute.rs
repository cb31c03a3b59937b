//! Runs the function of a prepared task in a sandbox, and bills it.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sortie_protocol::memo::Key;
use sortie_protocol::outcome::PlatformFault;
use sortie_protocol::{Bill, ByteSize, Failure, Log};
use tracing::Instrument as _;

use super::context::{Attempt, Host};
use super::open::{Inputs, Ready};
use crate::clock;
use crate::memo;
use crate::sandbox::{self, Call, Ended, Makes, Returned, Watch, Why};

/// A task that ran and whose result is not kept yet.
#[derive(Debug)]
pub(crate) struct Computed {
    pub(super) ending: Result<Returned, Why>,
    pub(super) bill: Bill,
    pub(super) log: Option<Box<Log>>,
    /// Measures the task's time until the result is kept.
    pub(super) watch: Arc<Watch>,
    /// What it cost to compute.
    pub(super) cost: memo::Cost,
    /// The task's key, if its result may be kept under it.
    pub(super) key: Option<Key>,
}

impl Computed {
    /// Whether it did not end: it waits for subtasks, out of memory, and is to be run again.
    pub(crate) fn is_suspended(&self) -> bool {
        matches!(self.ending, Err(Why::Suspended))
    }

    /// What it cost, if it is run again.
    pub(crate) fn bill(&self) -> &Bill {
        &self.bill
    }

    /// Add what it cost before, when it did not end.
    pub(crate) fn add(&mut self, before: &Bill) {
        let Bill {
            fetch,
            run,
            cpu,
            memory_peak,
            bytes_in,
            bytes_out,
            store,
            ..
        } = before;
        self.bill.fetch += *fetch;
        self.bill.run += *run;
        self.bill.cpu += *cpu;
        self.bill.memory_peak = self.bill.memory_peak.max(*memory_peak);
        self.bill.bytes_in.0 += bytes_in.0;
        self.bill.bytes_out.0 += bytes_out.0;
        self.bill.store += *store;
    }
}

/// Run a task that is prepared, without keeping its result. It `makes` subtasks or not, and may
/// have `spent` time on a core before. Cancel safe: a dropped run leaves nothing behind.
pub(crate) async fn compute(
    host: &Host,
    attempt: &Attempt,
    ready: Ready,
    (makes, spent): (Makes, Duration),
) -> Computed {
    let Ready { inputs, fetch } = ready;
    let Inputs {
        arguments,
        key,
        keyed,
        bytes,
        has_objects,
        ..
    } = inputs;
    let context = &attempt.context;
    let options = context.options();
    // Waiting for inputs is part of a task's time; waiting for a permit to compute after that is
    // not.
    let watch = Watch::after(fetch, attempt.cancel.clone(), &options.limits);
    let watch = Arc::new(watch.with_spent(spent));
    let call = Call {
        function: context.name(),
        arguments,
        limits: &options.limits,
        grants: &options.grants,
        seed: *key.as_bytes(),
        watch: watch.clone(),
        output_store: context.store.clone(),
        makes,
    };
    let began = clock::instant();
    let running = pin!(sandbox::run(&host.engine, context.component.linked(), call));
    let mut ended = running.instrument(attempt.span.clone()).await;
    // What a store refuses is no shortage: that is with the store's failure.
    if let Err(Why::Failed(Failure::Platform {
        fault: PlatformFault::Host,
        message,
    })) = &ended.result
        && !ended.is_not_made
    {
        host.shortages.note(message);
    }
    let input_error = ended.input_error.take().map(|error| host.unread(error));
    let output_error = ended.output_error.take().map(|error| host.unkept(error));
    let trouble = input_error.or(output_error);
    // What subtasks answered may be otherwise another time, by their own fault or that of theirs.
    let may_keep = keyed && trouble.is_none() && !ended.has_made;
    let bill = Bill {
        cpu: ended.cpu.saturating_sub(spent),
        ..bill(&ended, began, fetch, bytes)
    };
    // Time on a core: keeping the result saves no time that passed while other tasks computed or
    // while the store was waited for.
    let cost = memo::Cost {
        run: bill.cpu,
        read: bill.fetch,
        has_objects,
    };
    context.costs.observe(cost);
    Computed {
        ending: blame(ended.result, trouble),
        bill,
        log: ended.log,
        watch,
        cost,
        key: may_keep.then_some(key),
    }
}

fn bill(ended: &Ended, began: Instant, opening: Duration, bytes: u64) -> Bill {
    Bill {
        queue: Duration::ZERO,
        fetch: opening + ended.fetch,
        run: (clock::instant() - began).saturating_sub(ended.fetch + ended.store),
        cpu: ended.cpu,
        memory_peak: ended.memory_peak,
        bytes_in: ByteSize(bytes + ended.bytes_in),
        bytes_out: ByteSize(
            ended.result.as_ref().map_or(0, Returned::value_bytes) + ended.output_bytes,
        ),
        cached: false,
        store: ended.store,
    }
}

/// The result with the right blame: a function that failed after one of its reads or writes failed
/// is not to blame; the object or the store is.
fn blame(result: Result<Returned, Why>, trouble: Option<Failure>) -> Result<Returned, Why> {
    match (result, trouble) {
        (Err(Why::Failed(Failure::Answer { .. } | Failure::Trapped { .. })), Some(trouble)) => {
            Err(Why::Failed(trouble))
        }
        (result, _) => result,
    }
}

//! Keeps what a function returned: a large result in the store or at the broker, and in the memo
//! what may be there.

use bytes::Bytes;
use sortie_protocol::output::INLINE_BYTES_MAX;
use sortie_protocol::{Ending, Failure, Output, TaskIndex};
use tracing::Instrument as _;

use super::attempted::{Attempted, ending};
use super::compute::Computed;
use super::context::{Attempt, Host};
use super::place::placed;
use crate::clock;
use crate::memo;
use crate::sandbox::{Returned, Why};

/// How many bytes of a result [`keep`] is going to give to the store or to the broker.
pub(crate) fn stored_bytes(host: &Host, computed: &Computed) -> usize {
    let takes_any = host.store.is_some() || host.values.is_some();
    match &computed.ending {
        Ok(Returned::Value(value)) if takes_any && value.len() > INLINE_BYTES_MAX => value.len(),
        Ok(_) | Err(_) => 0,
    }
}

/// Keep the result of `task`: in the store if it is large, and in the memo if it may be there. If
/// the store does not take it, the task fails. Waits for the store only, within the task's time.
/// Cancel safe: a dropped call leaves at most an object that nothing names.
pub(crate) async fn keep(
    host: &Host,
    attempt: &Attempt,
    task: TaskIndex,
    computed: Computed,
) -> Attempted {
    let span = tracing::debug_span!(parent: &attempt.span, "keep");
    kept(host, attempt, task, computed).instrument(span).await
}

async fn kept(host: &Host, attempt: &Attempt, task: TaskIndex, computed: Computed) -> Attempted {
    let Computed {
        ending: returned,
        mut bill,
        log,
        watch,
        cost,
        key,
    } = computed;
    let context = &attempt.context;
    let began = clock::instant();
    let mut whole = None;
    let ending = match returned {
        Ok(Returned::Object(object)) => Ending::Completed(Output::Object(object)),
        Ok(Returned::Value(value)) => {
            let value = Bytes::from(value);
            let placing = placed(host, context, task, value.clone());
            match watch.bound_if_slow(placing).await {
                Ok(Ok(output)) => {
                    // What the broker keeps is this job's, and the memo's entry is of all jobs.
                    whole = matches!(output, Output::AtBroker(_)).then_some(value);
                    Ending::Completed(output)
                }
                Ok(Err(failure)) => Ending::Failed(failure),
                Err(stop) => ending(Why::from_stop(stop, &context.options().limits)),
            }
        }
        Err(why) => ending(why),
    };
    if matches!(
        &ending,
        Ending::Completed(Output::Stored(_) | Output::AtBroker(_))
            | Ending::Failed(Failure::Platform { .. } | Failure::Refused { .. })
    ) {
        bill.store += clock::instant() - began;
    }
    let memo = host.memo.as_ref().filter(|_| memo::is_final(&ending));
    if let (Some(memo), Some(key)) = (memo, &key) {
        let name = memo::Name {
            tenant: context.job.key.tenant,
            key,
        };
        let entry = memo::Entry {
            ending: match whole {
                Some(value) => Ending::Completed(Output::Value(value)),
                None => ending.clone(),
            },
            log: log.clone(),
        };
        memo.put(name, &entry, cost);
    }
    Attempted { ending, bill, log }
}

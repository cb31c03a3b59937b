//! Keeps what a function returned: a large result in the store, and in the memo what may be there.

use sortie_objects::values;
use sortie_protocol::output::INLINE_BYTES_MAX;
use sortie_protocol::{Ending, Failure, Output};
use tracing::Instrument as _;

use super::attempted::{Attempted, ending};
use super::compute::Computed;
use super::context::{Attempt, Host};
use crate::clock;
use crate::memo;
use crate::sandbox::{Returned, Why};

/// How many bytes of a result [`keep`] is going to give to the store.
pub(crate) fn stored_bytes(host: &Host, computed: &Computed) -> usize {
    match (&computed.ending, &host.store) {
        (Ok(Returned::Value(value)), Some(_)) if value.len() > INLINE_BYTES_MAX => value.len(),
        (Ok(_) | Err(_), _) => 0,
    }
}

/// Keep a task's result: in the store if it is large, and in the memo if it may be there. If the
/// store does not take it, the task fails. Waits for the store only, within the task's time. Cancel
/// safe: a dropped call leaves at most an object that nothing names.
pub(crate) async fn keep(host: &Host, attempt: &Attempt, computed: Computed) -> Attempted {
    let span = tracing::debug_span!(parent: &attempt.span, "keep");
    kept(host, attempt, computed).instrument(span).await
}

async fn kept(host: &Host, attempt: &Attempt, computed: Computed) -> Attempted {
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
    let ending = match returned {
        Ok(Returned::Object(object)) => Ending::Completed(Output::Object(object)),
        Ok(Returned::Value(value)) => match watch
            .bound_if_slow(values::keep(context.store.as_ref(), value.into()))
            .await
        {
            Ok(Ok(output)) => Ending::Completed(output),
            Ok(Err(error)) => Ending::Failed(host.unkept(error)),
            Err(stop) => ending(Why::from_stop(stop, &context.options().limits)),
        },
        Err(why) => ending(why),
    };
    if matches!(
        &ending,
        Ending::Completed(Output::Stored(_))
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
            ending: ending.clone(),
            log: log.clone(),
        };
        memo.put(name, &entry, cost);
    }
    Attempted { ending, bill, log }
}

//! Decides where a returned value goes: into the report, into the store, or to the broker.

use bytes::Bytes;
use sortie_broker::Error;
use sortie_objects::values;
use sortie_protocol::outcome::PlatformFault;
use sortie_protocol::output::INLINE_BYTES_MAX;
use sortie_protocol::{ByteSize, Failure, Limit, Output, TaskIndex};

use super::context::{Host, JobContext};

/// A value as it is reported: if it is large, in the store, or at the broker where there is none.
///
/// # Errors
/// The failure of the task, if it is not taken there.
pub(super) async fn placed(
    host: &Host,
    context: &JobContext,
    task: TaskIndex,
    value: Bytes,
) -> Result<Output, Failure> {
    match (&context.store, &host.values) {
        (None, Some(broker)) if value.len() > INLINE_BYTES_MAX => {
            let kept = broker.put_value(context.job.key, Some(task), value).await;
            kept.map(Output::AtBroker).map_err(|error| not_kept(&error))
        }
        (store, _) => {
            let kept = values::keep(store.as_ref(), value).await;
            kept.map_err(|error| host.unkept(error))
        }
    }
}

/// The failure of a task whose result the broker does not keep.
fn not_kept(error: &Error) -> Failure {
    let fault = match error {
        Error::TooLarge { limit, .. } => {
            return Failure::stopped(Limit::Result(ByteSize(*limit as u64)));
        }
        error if error.is_transient() => PlatformFault::StoreUnavailable,
        _ => PlatformFault::StoreUnusable,
    };
    Failure::Platform {
        fault,
        message: format!(
            "this fleet has no store, and the broker does not keep the result: {error}"
        ),
    }
}

//! Values that the broker keeps because they are too large for a message.

use std::sync::Arc;

use bytes::Bytes;
use sortie_broker::KeepValues;
use sortie_protocol::outcome::{InputFault, PlatformFault};
use sortie_protocol::{BrokerRef, ByteSize, Failure, TenantId};

/// A value that the broker keeps, of at most `value_max`. Cancel safe.
///
/// # Errors
/// The failure of the task that needs it as an argument.
pub(crate) async fn value(
    broker: Option<&Arc<dyn KeepValues>>,
    tenant: TenantId,
    kept: BrokerRef,
    value_max: ByteSize,
) -> Result<Bytes, Failure> {
    let failed = |fault, message: String| Failure::Platform {
        fault,
        message: format!("an argument cannot be fetched: {message}"),
    };
    if kept.size > value_max.as_u64() {
        return Err(Failure::Input {
            fault: InputFault::Malformed,
            message: format!(
                "an argument has {}; at most {value_max} are allowed here",
                ByteSize(kept.size)
            ),
        });
    }
    let unusable = |message: &str| failed(PlatformFault::StoreUnusable, message.into());
    let Some(broker) = broker else {
        return Err(unusable("this process has no broker that keeps values"));
    };
    match broker.value(tenant, kept).await {
        Ok(Some(value)) => Ok(value),
        Ok(None) => Err(failed(
            PlatformFault::ResultLost,
            "the broker does not keep it any more".into(),
        )),
        Err(error) if error.is_transient() => {
            Err(failed(PlatformFault::StoreUnavailable, error.to_string()))
        }
        Err(error) => Err(unusable(&error.to_string())),
    }
}

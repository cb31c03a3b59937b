//! Arguments of tasks that are elsewhere, or have to be.

use sortie_protocol::filling;
use sortie_protocol::{Argument, Failure, Output, Part, Signature};

use super::values::{Taker, Values};

/// Store large arguments, of those that are there. Cancel safe.
///
/// # Errors
/// When one cannot be stored.
pub(crate) async fn send_ready<D>(
    values: &Values,
    taker: Taker,
    mut parts: Vec<Part<D>>,
) -> Result<Vec<Part<D>>, Failure> {
    for part in &mut parts {
        if let Part::Ready(argument) = part {
            values.send_one(taker, argument).await?;
        }
    }
    Ok(parts)
}

/// Put results in their places whose values have to be fetched for that. Values that became large
/// are stored.
///
/// # Errors
/// The failure of the task.
pub(crate) async fn fetch(
    values: &Values,
    taker: Taker,
    (signature, parts): (&Signature, Vec<Part<Output>>),
) -> Result<Vec<Argument>, Failure> {
    let mut ready = Vec::with_capacity(parts.len());
    for (part, parameter) in parts.into_iter().zip(&signature.parameters) {
        let here = match part {
            Part::Template(value, mut results) => {
                for output in &mut results {
                    *output = values.item(taker.job.tenant, output).await?.into();
                }
                Part::Template(value, results)
            }
            part => part,
        };
        ready.push(filling::fill_part(here, signature, parameter)?);
    }
    values.send(taker, ready).await
}

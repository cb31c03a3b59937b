//! Reduces many results to one, as a tree.

use std::num::NonZeroUsize;

use crate::api::client::Client;
use crate::api::function::Function;
use crate::api::future::TaskFuture;
use crate::error::SubmitError;

impl Client {
    /// Reduce the results of many tasks to one: `function`, whose only parameter is a list, is
    /// called with up to `fan_in` results at a time, then with the results of that, until one is
    /// left. The order is kept, so the function need not be commutative; it has to be associative.
    /// Each call starts as soon as its inputs are there.
    ///
    /// One future alone comes back as it is. If a task fails, so does the whole, with
    /// `upstream-failed`.
    ///
    /// # Errors
    /// When there is no future, `fan_in` is 1, or as [`Client::submit`].
    pub async fn reduce<T>(
        &self,
        function: &Function<T>,
        futures: impl IntoIterator<Item = TaskFuture<T>>,
        fan_in: NonZeroUsize,
    ) -> Result<TaskFuture<T>, SubmitError> {
        let invalid = |why: &str| SubmitError::argument(why.into());
        let mut level: Vec<_> = futures.into_iter().collect();
        if fan_in.get() < 2 {
            return Err(invalid("a tree needs a fan-in of 2 or more"));
        }
        while level.len() > 1 {
            let mut next = Vec::with_capacity(level.len().div_ceil(fan_in.get()));
            for group in level.chunks(fan_in.get()) {
                next.push(match group {
                    [alone] => alone.clone(),
                    group => self.submit(function, (group,)).await?,
                });
            }
            level = next;
        }
        level
            .pop()
            .ok_or_else(|| invalid("there is nothing to reduce"))
    }
}

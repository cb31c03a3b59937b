//! Computes a task that may make subtasks, again if it had to go out of memory while it waited for
//! them.

use std::pin::pin;
use std::sync::Arc;

use sortie_protocol::Bill;

use super::bundle::{Next, Run};
use super::made::Made;
use super::seat::Seat;
use crate::attempt::{Attempted, Computed, Nest, Prepared, Ready};
use crate::budget::Claim;
use crate::sandbox::Makes;
use crate::subtasks::{Family, Yields as _};

/// A task that was computed, with its claim, or how it ended without that.
pub(super) type Parented<'a> = Result<(Result<Computed, Box<Attempted>>, Claim<'a>), Attempted>;

impl<'a> Run<'a> {
    /// See the module. The bundle has a permit to compute, and may have none afterwards.
    pub(super) async fn compute_parent(
        &mut self,
        next: &mut Next<'a>,
        mut ready: Ready,
        mut claim: Claim<'a>,
    ) -> Parented<'a> {
        let runner = self.runner;
        let seat = Arc::new(Seat::new(runner.seats.clone()));
        let mut family = None;
        let mut before = Bill::default();
        loop {
            let nest = Arc::new(Nest::new(
                &runner.host,
                &runner.subtasks,
                (self.lease, next.task.index),
                (&next.attempt, &ready),
                seat.clone(),
                family,
            ));
            let makes = Makes::Subtasks(nest.clone());
            let mut computed = {
                let task = next.task.index;
                let computing =
                    pin!(runner.compute_making(&next.attempt, task, ready, (makes, before.cpu)));
                self.results.during(computing).await
            };
            if seat.is_lent()
                && let Some(permit) = self.permit.take()
            {
                permit.forget();
            }
            family = nest.made();
            let is_suspended = match &mut computed {
                Ok(computed) => {
                    computed.add(&before);
                    before = *computed.bill();
                    computed.is_suspended()
                }
                Err(_) => false,
            };
            if !is_suspended {
                self.note(next, &nest);
                return Ok((computed, claim));
            }
            seat.is_out();
            seat.leave();
            if let Some(permit) = self.permit.take() {
                permit.forget();
            }
            drop(claim);
            runner.host.budget.gave_way();
            match self.again(next, family.as_deref(), &seat).await {
                Ok(again) => (ready, claim) = again,
                Err(mut ended) => {
                    ended.bill = before;
                    self.note(next, &nest);
                    return Err(ended);
                }
            }
        }
    }

    /// Wait until a task that is out of memory can be run again, and prepare that.
    async fn again(
        &mut self,
        next: &Next<'a>,
        family: Option<&Family>,
        seat: &Seat,
    ) -> Result<(Ready, Claim<'a>), Attempted> {
        let cancel = next.attempt.cancel.clone();
        if let Some(family) = family {
            let waiting = async {
                tokio::select! {
                    biased;
                    () = cancel.cancelled() => {}
                    () = family.until_awaited() => {}
                }
            };
            self.results.during(waiting).await;
        }
        if cancel.is_cancelled() {
            return Err(Attempted::cancelled());
        }
        let claim = match self.claim(next, next.room.is_some()).await {
            Ok(Some(claim)) => claim,
            Ok(None) => return Err(Attempted::cancelled()),
            Err(refused) => return Err(Attempted::failed(refused)),
        };
        let ready = match self.prepare_claimed(next).await {
            Prepared::Ready(ready) => ready,
            Prepared::Ended(attempted) => return Err(*attempted),
        };
        let permit = self.runner.permits.compute(self.cancel);
        self.permit = self.results.during(permit).await;
        if self.permit.is_none() || cancel.is_cancelled() {
            return Err(Attempted::cancelled());
        }
        seat.goes_on();
        Ok((ready, claim))
    }

    /// Remember which subtasks a task made, so that they end with it.
    fn note(&mut self, next: &Next<'a>, nest: &Nest) {
        if let Some(family) = nest.made().filter(|family| family.is_begun()) {
            self.made.push(Made {
                task: next.task.index,
                over: family.over(),
                is_settled: nest.is_settled(),
            });
        }
    }
}

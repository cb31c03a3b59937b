//! The conformance suite: checks of what every broker promises.
//!
//! Each check is an async function over the [`Broker`] trait, named by the promise it holds the
//! broker to. [`SUITE`] lists them all, and [`check`] runs them against what a [`Harness`]
//! provides. A new broker has to pass the suite; a new promise begins with a check here.
//!
//! A check uses the trait only. Time passes only by waiting through tokio: with a deadline
//! ([`Harness::patience`]) for something that must happen, and for a part of a lease for something
//! that must not. So the same suite runs in milliseconds on paused time and in real time against a
//! server.
//!
//! Bounds: no check publishes more than a few dozen tasks; none waits longer than
//! [`CASE_LEASES_MAX`] leases and as many times its patience.
//!
//! A broker may act on expired leases only while some worker pulls, so a check that waits for an
//! expiry pulls meanwhile. A broker may list and count with a delay, so checks of lists and counts
//! ask until the answer is right.
//!
//! Reading order: [`bundles`], [`leases`], [`outcomes`], [`retrials`], [`jobs`],
//! [`open_jobs`], [`graphs`], [`directory`], [`values`], [`workers`], [`tenants`], [`room`],
//! [`dead_letters`], [`components`].

pub mod bundles;
pub mod leases;
pub mod outcomes;
pub mod retrials;

pub mod components;
pub mod dead_letters;
pub mod directory;
pub mod graphs;
pub mod jobs;
pub mod open_jobs;
pub mod room;
pub mod tenants;
pub mod values;
pub mod workers;

mod scene;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;

use crate::traits::{Broker, Error};

/// How many leases, and how often its patience, one check may take before it counts as hung. The
/// longest check sits out every delivery of a bundle, so a harness has to allow fewer deliveries
/// than this.
pub const CASE_LEASES_MAX: u32 = 20;

/// Creates the brokers under test, and describes their limits.
#[async_trait]
pub trait Harness: Send + Sync {
    /// A new, empty broker. Every check gets its own.
    async fn broker(&self) -> Arc<dyn Broker>;

    /// Two tenants of one installation with nothing in it. Whoever pulls, at either, serves both.
    async fn tenants(&self) -> [Arc<dyn Broker>; 2] {
        self.tenants_with(self.weight_max()).await
    }

    /// As [`Self::tenants`], with queues that take about so many bytes.
    async fn tenants_with(&self, bytes: usize) -> [Arc<dyn Broker>; 2];

    /// A broker with nothing in it, whose queue takes about so many bytes.
    async fn narrow_broker(&self, bytes: usize) -> Arc<dyn Broker>;

    /// How long a lease of these brokers holds. The shorter, the faster the suite; below a few
    /// hundred milliseconds of real time a busy machine makes checks fail.
    fn lease(&self) -> Duration;

    /// After how many deliveries in a row without a report these brokers give a task up. At least
    /// 3, so that a bundle is split before, and well below [`CASE_LEASES_MAX`].
    fn deliveries_max(&self) -> u32;

    /// Maximum weight of a bundle.
    fn weight_max(&self) -> usize;

    /// How long to wait for something that must happen. Default: three leases and ten seconds.
    fn patience(&self) -> Duration {
        3 * self.lease() + Duration::from_secs(10)
    }
}

/// One check.
#[derive(Clone, Copy)]
pub struct Case {
    /// The promise, as a sentence with underscores.
    pub name: &'static str,
    run: for<'h> fn(&'h dyn Harness) -> BoxFuture<'h, Verdict>,
}

impl Case {
    /// Run this check on a new broker, for no longer than [`CASE_LEASES_MAX`] allows.
    pub async fn check(&self, harness: &dyn Harness) -> Verdict {
        let limit = CASE_LEASES_MAX * (harness.lease() + harness.patience());
        match tokio::time::timeout(limit, (self.run)(harness)).await {
            Ok(verdict) => verdict,
            Err(_) => Err(Broken::new(format!(
                "the check did not end within {limit:?}"
            ))),
        }
    }
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Case")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// The result of a check.
pub type Verdict = Result<(), Broken>;

/// A failed check: what was observed, and what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Broken(String);

impl Broken {
    fn new(what: impl Into<String>) -> Self {
        Self(what.into())
    }
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        Self(format!("the broker answered with an error: {error}"))
    }
}

/// The checks that failed, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed(pub Vec<(&'static str, Broken)>);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {} checks failed", self.0.len(), SUITE.len())?;
        self.0
            .iter()
            .try_for_each(|(name, broken)| write!(f, "\n  {name}: {broken}"))
    }
}

impl std::error::Error for Failed {}

/// Run the whole [`SUITE`], one check after the other. Each is announced first, so that a hung one
/// has a name.
pub async fn check(
    harness: &dyn Harness,
    mut announce: impl FnMut(&'static str),
) -> Result<(), Failed> {
    let mut failed = Vec::new();
    for case in SUITE {
        announce(case.name);
        if let Err(broken) = case.check(harness).await {
            failed.push((case.name, broken));
        }
    }
    if failed.is_empty() {
        Ok(())
    } else {
        Err(Failed(failed))
    }
}

macro_rules! suite {
    ($($module:ident { $($name:ident),* $(,)? })*) => {
        /// Every check there is.
        pub const SUITE: &[Case] = &[$($(Case {
            name: stringify!($name),
            run: |harness| Box::pin($module::$name(harness)),
        }),*),*];
    };
}

suite! {
    bundles {
        what_is_published_is_pulled,
        pull_waits_for_a_publish,
        a_dropped_pull_takes_no_lease_with_it,
        a_dropped_pull_leaves_the_bundle_to_the_next,
        credits_bound_the_leases_of_one_pull,
        every_bundle_goes_to_one_of_many_pulls,
        a_higher_priority_goes_first,
        an_empty_bundle_is_refused,
        a_bundle_that_is_too_heavy_is_refused,
    }
    leases {
        an_expired_lease_is_redelivered_as_the_next_attempt,
        a_sleeping_worker_takes_over_from_one_that_died,
        an_extended_lease_is_not_redelivered,
        an_expired_lease_cannot_be_extended,
        a_released_bundle_comes_back_and_does_not_count,
        a_completed_bundle_is_never_granted_again,
        an_unknown_lease_is_lost_and_ending_it_is_no_error,
        a_bundle_lost_twice_comes_back_task_by_task,
        a_bundle_is_given_up_when_its_deliveries_are_used_up,
    }
    outcomes {
        the_first_outcome_of_a_task_wins,
        a_late_report_is_taken_if_it_is_the_first,
        what_a_late_report_ended_is_not_granted_again,
        what_was_reported_after_a_release_is_not_granted_again,
        a_task_that_a_report_leaves_out_comes_back,
        outcomes_replay_from_the_start,
        outcomes_replay_from_the_middle,
        a_follower_sees_outcomes_as_they_are_stored,
        two_followers_see_the_same,
        trim_forgets_nothing_from_its_position_on,
        a_report_without_a_lease_counts_if_it_is_the_first,
        a_late_follower_is_told_of_the_seal_and_that_it_has_caught_up,
        what_was_counted_before_a_mark_is_told_before_it,
    }
    retrials {
        a_retrial_comes_back_without_what_ended_as_the_next_attempt,
        a_retrial_waits_for_its_delay,
        a_retrial_holds_up_nobody,
        each_retrial_of_a_report_comes_back_once,
        retrials_with_different_delays_come_back_each_in_time,
        a_retrial_in_a_late_report_is_ignored,
        a_retrial_of_a_task_that_ended_is_ignored,
    }
    jobs {
        a_job_that_was_never_put_is_unknown,
        putting_a_job_again_keeps_its_state,
        a_sealed_job_says_how_many_tasks_it_has,
        jobs_are_listed_newest_first,
        outcomes_go_when_the_last_of_their_readers_ends,
        what_is_unfinished_is_counted,
        jobs_do_not_mix,
        cancel_drops_what_waits,
        cancel_drops_retrials,
        cancel_takes_leases_away,
        cancel_ends_followers_after_what_was_stored,
        cancel_is_told_to_workers,
        cancel_refuses_further_bundles,
        cancel_makes_late_outcomes_invisible,
        cancel_leaves_other_jobs_alone,
        forget_ends_followers,
        forget_takes_bundles_and_leases_away,
    }
    open_jobs {
        a_function_that_is_added_can_be_called,
        functions_are_added_once_and_without_gaps,
        a_cancelled_task_ends_and_leaves_its_bundle,
        a_task_that_ended_is_not_cancelled,
        what_followed_a_task_is_reported_with_it,
        a_running_task_that_is_cancelled_ends_with_its_lease,
        a_cancelled_task_that_was_not_published_yet_is_not_run,
    }
    graphs {
        a_graph_comes_back_in_its_order,
        of_two_claims_one_holds,
        claims_of_all_tenants_are_listed,
        a_graph_goes_with_its_job,
        the_tasks_that_are_unfinished_are_told,
    }
    directory {
        a_published_task_is_found_by_its_name,
    }
    values {
        a_kept_value_comes_back_as_it_was_put,
        kept_values_are_dropped_with_their_task_and_their_job,
    }
    workers {
        a_job_that_asks_for_labels_goes_only_to_a_worker_that_has_them,
        an_announced_worker_is_listed,
    }
    tenants {
        tenants_see_nothing_of_each_other,
        much_work_of_one_tenant_does_not_hold_up_another,
        a_full_queue_of_one_tenant_leaves_room_for_another,
        an_emptied_queue_has_no_bundles_and_its_jobs_are_there,
    }
    room {
        a_broker_that_is_full_says_so_until_there_is_room,
        a_full_queue_takes_back_what_is_released_or_tried_again,
        cancel_makes_room_without_a_worker,
        forget_makes_room_without_a_worker,
    }
    dead_letters {
        a_failed_task_is_kept_with_its_arguments,
        a_task_that_completed_is_not_kept,
        dead_letters_come_newest_first,
        dead_letters_of_one_job_are_told_apart,
        a_failure_in_a_late_report_is_kept_too,
        dead_letters_outlive_their_job,
        a_dead_letter_has_its_job,
        a_removed_dead_letter_is_gone,
    }
    components {
        a_component_comes_back_as_it_was_put,
        a_component_that_was_never_put_is_not_there,
        putting_a_component_again_changes_nothing,
    }
}

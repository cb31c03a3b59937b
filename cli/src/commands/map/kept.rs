//! What becomes of the results of `sortie map` when it is interrupted, and how to go on.

use sortie::protocol::job::Memo;
use sortie::{FunctionOptions, JobId};
use sortie_frontend::session::Keeps;

use crate::session::may_go_on;

/// What becomes of results when a run is interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kept {
    /// They are in the cache, or in a store.
    InCache,
    /// There is no cache.
    Nowhere,
    /// There is one, but the results of this run are not kept there.
    NotOfThisRun,
    /// The broker has the job.
    AtBroker,
}

impl Kept {
    pub(super) fn of(keeps: Keeps, options: &FunctionOptions) -> Self {
        match keeps {
            Keeps::Job => Self::AtBroker,
            Keeps::Nothing => Self::Nowhere,
            Keeps::Results if options.memo == Memo::Off || !options.grants.deterministic() => {
                Self::NotOfThisRun
            }
            Keeps::Results => Self::InCache,
        }
    }

    /// How to go on after an interruption, where nothing else is known.
    pub(super) fn how_to_go_on(self) -> &'static str {
        match self {
            Self::InCache => {
                "to go on, run the same command again: finished results are kept in the cache"
            }
            Self::Nowhere => {
                "to start over, run the same command again: without a cache no results are kept"
            }
            Self::NotOfThisRun => {
                "to start over, run the same command again: the results of this run are not kept"
            }
            Self::AtBroker => {
                "the job was cancelled at the broker. To start over, run the same command again"
            }
        }
    }

    /// What is said where a second signal ends the process before anything is known for sure.
    pub(super) fn parting(self, job: Option<JobId>) -> String {
        match (self, job) {
            (Self::AtBroker, Some(id)) => may_go_on(id),
            (Self::AtBroker, None) => "interrupted".into(),
            (Self::InCache, _) => "interrupted; results that were written stay, and finished ones \
                                   are kept in the cache"
                .into(),
            (Self::Nowhere | Self::NotOfThisRun, _) => {
                "interrupted; results that were written stay".into()
            }
        }
    }
}

/// What is said where a process ends before its results were written to `place`, or while they are.
pub(super) fn whole_or_nothing(place: &str) -> String {
    format!("interrupted; {place} has all results, or is as it was before")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_promised_of_results_that_are_not_kept() {
        let options = FunctionOptions::default();
        let fresh = FunctionOptions {
            memo: Memo::Off,
            ..options.clone()
        };
        let granted = FunctionOptions {
            grants: [sortie::Grant::Clock].into(),
            ..options.clone()
        };
        let kept = Kept::of(Keeps::Results, &options);
        assert!(kept.how_to_go_on().contains("finished results are kept"));
        for (keeps, options) in [
            (Keeps::Results, &fresh),
            (Keeps::Results, &granted),
            (Keeps::Nothing, &options),
        ] {
            let kept = Kept::of(keeps, options);
            for text in [kept.how_to_go_on().to_owned(), kept.parting(None)] {
                assert!(!text.contains("are kept in the cache"), "{text}");
            }
        }
        let id = JobId::from_bytes([7; 16]);
        let parting = Kept::of(Keeps::Job, &fresh).parting(Some(id));
        assert!(
            parting.contains(&format!("sortie job cancel {id}")),
            "{parting}"
        );
    }
}

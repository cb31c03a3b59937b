//! Checks whether a job's grants cover its component's imports.
//!
//! A component may import an interface that needs a grant. Without the grant, the job is refused
//! when it is submitted, if the submitter knows the component, and else by the worker that loads
//! it: before an instance is created, not by a trap in the middle of a task.

use std::collections::BTreeSet;

use crate::{Grant, Grants};

/// An import that needs a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Need {
    /// The interface, as in `wasi:http/outgoing-handler@0.2.0`.
    pub import: String,
    /// The grant that it needs.
    pub grant: Grant,
}

/// A component's imports need grants that its job does not give. The text continues the name of the
/// component, and says what the submitter can do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "needs {}, which only tasks with the {} may use; submit the job with {}",
    imports(.0),
    grants(.0),
    pronoun(.0)
)]
pub struct Ungranted(
    /// What is missing, in the order of the imports. At least one.
    pub Vec<Need>,
);

/// Check what a component needs against the grants of a job.
///
/// # Errors
/// Everything that is missing.
pub fn check(needs: &[Need], grants: &Grants) -> Result<(), Ungranted> {
    let missing: Vec<Need> = needs
        .iter()
        .filter(|need| !grants.contains(&need.grant))
        .cloned()
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(Ungranted(missing))
    }
}

fn imports(missing: &[Need]) -> String {
    let imports = missing.iter().map(|need| format!("`{}`", need.import));
    imports.collect::<Vec<_>>().join(", ")
}

fn distinct(missing: &[Need]) -> BTreeSet<Grant> {
    missing.iter().map(|need| need.grant).collect()
}

fn grants(missing: &[Need]) -> String {
    let grants: Vec<String> = distinct(missing)
        .into_iter()
        .map(|grant| format!("`{grant}`"))
        .collect();
    let noun = if grants.len() == 1 { "grant" } else { "grants" };
    format!("{noun} {}", grants.join(", "))
}

fn pronoun(missing: &[Need]) -> &'static str {
    if distinct(missing).len() == 1 {
        "it"
    } else {
        "them"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs() -> [Need; 2] {
        [
            ("acme:time/now@1.0.0", Grant::Clock),
            ("acme:dice/throw@1.0.0", Grant::Random),
        ]
        .map(|(import, grant)| Need {
            import: import.into(),
            grant,
        })
    }

    #[test]
    fn a_job_is_refused_exactly_for_the_grants_that_it_lacks() {
        let [time, dice] = needs();
        let both = [time.clone(), dice.clone()];
        assert_eq!(check(&[], &Grants::none()), Ok(()));
        assert_eq!(check(&both, &[Grant::Clock, Grant::Random].into()), Ok(()));
        assert_eq!(
            check(&both, &[Grant::Clock].into()),
            Err(Ungranted(vec![dice.clone()]))
        );
        assert_eq!(
            check(&both, &Grants::none()),
            Err(Ungranted(vec![time, dice]))
        );
    }

    #[test]
    fn a_refusal_names_the_imports_and_the_grants_in_one_line() {
        let refused = check(&needs(), &[Grant::Random].into()).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "needs `acme:time/now@1.0.0`, which only tasks with the grant `clock` may use; submit \
             the job with it"
        );
        let refused = check(&needs(), &Grants::none()).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "needs `acme:time/now@1.0.0`, `acme:dice/throw@1.0.0`, which only tasks with the \
             grants `clock`, `random` may use; submit the job with them"
        );
    }
}

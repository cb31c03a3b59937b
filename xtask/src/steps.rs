//! `test` and `ci`: one list of steps, each a check that can be repeated on its own.
//!
//! A step that fails does not stop the ones that can still tell something: only steps that need it
//! are left out. At the end a table says how each went and how long it took. `ci` differs in
//! settings only (no progress bars or colours; lock files checked), so what passes for a person
//! passes there. No test ends the run: all failures are reported.

mod checks;
mod step;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Args;
use clap::builder::PossibleValuesParser;

pub(crate) use self::step::Mode;
use self::step::{Check, Run};
use crate::disk;
use crate::project::Project;
use crate::stopwatch::Stopwatch;
use crate::tally::Tally;

/// Which steps to run; all of them by default.
#[derive(Args)]
pub(crate) struct Selection {
    /// Skip format, lints and documentation
    #[arg(long)]
    fast: bool,
    /// Run only these steps
    #[arg(value_parser = PossibleValuesParser::new(STEPS.iter().map(|step| step.name)))]
    steps: Vec<String>,
}

/// How a step ended.
enum Ending {
    /// With the tests it ran, if it runs tests.
    Passed(Option<Tally>),
    Failed(Option<Tally>),
    /// Did not run, and why.
    Skipped(String),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Reads sources only; `--fast` leaves it out.
    Style,
    /// Needed by later steps, or checks what the program does.
    Work,
    /// Only for continuous integration.
    Machine,
}

struct Step {
    name: &'static str,
    kind: Kind,
    /// Steps without which this one cannot tell anything.
    needs: &'static [&'static str],
    run: fn(&mut Run<'_>) -> Result<Check>,
}

/// What is cheap and fails often comes first.
const STEPS: [Step; 15] = [
    Step {
        name: "format",
        kind: Kind::Style,
        needs: &[],
        run: checks::format,
    },
    Step {
        name: "tidy",
        kind: Kind::Style,
        needs: &[],
        run: checks::tidy,
    },
    Step {
        name: "locks",
        kind: Kind::Machine,
        needs: &[],
        run: checks::locks,
    },
    Step {
        name: "setup",
        kind: Kind::Work,
        needs: &[],
        run: checks::setup,
    },
    Step {
        name: "servers",
        kind: Kind::Work,
        needs: &[],
        run: checks::servers,
    },
    Step {
        name: "guests",
        kind: Kind::Work,
        needs: &["setup"],
        run: checks::guests,
    },
    Step {
        name: "build",
        kind: Kind::Work,
        needs: &[],
        run: checks::build,
    },
    Step {
        name: "slim",
        kind: Kind::Work,
        needs: &[],
        run: checks::slim,
    },
    Step {
        name: "functions",
        kind: Kind::Work,
        needs: &[],
        run: checks::functions,
    },
    Step {
        name: "tests",
        kind: Kind::Work,
        needs: &["servers", "guests", "build", "slim"],
        run: checks::tests,
    },
    Step {
        name: "doctests",
        kind: Kind::Work,
        needs: &["guests", "build"],
        run: checks::doctests,
    },
    Step {
        name: "fuzz",
        kind: Kind::Machine,
        needs: &["build"],
        run: checks::fuzz,
    },
    Step {
        name: "lints",
        kind: Kind::Style,
        needs: &[],
        run: checks::lints,
    },
    Step {
        name: "docs",
        kind: Kind::Style,
        needs: &[],
        run: checks::docs,
    },
    Step {
        name: "licences",
        kind: Kind::Style,
        needs: &[],
        run: checks::licences,
    },
];

/// Runs the selected steps. What failed has been said when this returns; the code says whether
/// anything did.
pub(crate) fn run(project: &Project, mode: Mode, selection: &Selection) -> ExitCode {
    let mut results: Vec<(&Step, Ending, Duration)> = Vec::new();
    println!("{}", room(project));
    for step in STEPS.iter().filter(|step| selection.includes(step, mode)) {
        println!("\n== {} ==", step.name);
        let watch = Stopwatch::start();
        let failed = step.needs.iter().find(|needed| {
            results.iter().any(|(step, ending, _)| {
                step.name == **needed && !matches!(ending, Ending::Passed(_))
            })
        });
        let ending = match failed {
            Some(needed) => Ending::Skipped(format!("needs {needed}")),
            None => execute(step, project, mode),
        };
        if let Ending::Skipped(reason) = &ending {
            println!("skipped: {reason}");
        }
        results.push((step, ending, watch.elapsed()));
    }
    conclude(&results, mode);
    println!("{}", room(project));
    if results
        .iter()
        .any(|(_, ending, _)| matches!(ending, Ending::Failed(_)))
    {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}

impl Selection {
    fn includes(&self, step: &Step, mode: Mode) -> bool {
        if !self.steps.is_empty() {
            return self.steps.iter().any(|name| name == step.name);
        }
        match step.kind {
            Kind::Style => !self.fast,
            Kind::Work => true,
            Kind::Machine => mode == Mode::Machine,
        }
    }
}

fn execute(step: &Step, project: &Project, mode: Mode) -> Ending {
    let mut run = Run {
        project,
        mode,
        tally: None,
    };
    match (step.run)(&mut run) {
        Ok(Check::Done) => Ending::Passed(run.tally),
        Ok(Check::Skipped(reason)) => Ending::Skipped(reason.to_owned()),
        Err(error) => {
            eprintln!(
                "error: {error:#}\nto repeat this step: cargo xtask {} {}",
                mode.name(),
                step.name
            );
            if let Some(advice) = disk::advice(project.root()) {
                eprintln!("advice: {advice}");
            }
            Ending::Failed(run.tally)
        }
    }
}

/// How full the disk is, before and after.
fn room(project: &Project) -> String {
    match disk::free(project.root()) {
        Ok(free) => format!("disk: {} free", disk::shown(free)),
        Err(error) => format!("disk: {error}"),
    }
}

fn conclude(results: &[(&Step, Ending, Duration)], mode: Mode) {
    println!("\n{:<10} {:>8}  result", "step", "seconds");
    for (step, ending, time) in results {
        println!(
            "{:<10} {:>8.1}  {}",
            step.name,
            time.as_secs_f64(),
            ending.shown()
        );
    }
    let failed: Vec<_> = results
        .iter()
        .filter(|(_, ending, _)| matches!(ending, Ending::Failed(_)))
        .map(|(step, _, _)| step.name)
        .collect();
    if !failed.is_empty() {
        println!(
            "\nto repeat what failed: cargo xtask {} {}",
            mode.name(),
            failed.join(" ")
        );
    }
    let total = total(results.iter().map(|(_, ending, _)| ending));
    println!("{} passed, {} failed", total.passed, total.failed);
}

/// Every test counts as one, and so does every step that has no tests of its own or failed before
/// they could be counted.
fn total<'a>(endings: impl Iterator<Item = &'a Ending>) -> Tally {
    let mut total = Tally::default();
    for ending in endings {
        total += match ending {
            Ending::Passed(Some(tally)) => *tally,
            Ending::Passed(None) => Tally {
                passed: 1,
                failed: 0,
            },
            Ending::Failed(Some(tally)) if tally.failed > 0 => *tally,
            Ending::Failed(tally) => Tally {
                passed: tally.map_or(0, |tally| tally.passed),
                failed: 1,
            },
            Ending::Skipped(_) => Tally::default(),
        };
    }
    total
}

impl Ending {
    fn shown(&self) -> String {
        let counts = |tally: &Option<Tally>| {
            tally.map_or(String::new(), |tally| {
                format!(", {} passed, {} failed", tally.passed, tally.failed)
            })
        };
        match self {
            Self::Passed(tally) => format!("ok{}", counts(tally)),
            Self::Failed(tally) => format!("FAILED{}", counts(tally)),
            Self::Skipped(reason) => format!("skipped: {reason}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_needs_only_steps_before_it() {
        for (place, step) in STEPS.iter().enumerate() {
            for needed in step.needs {
                assert!(
                    STEPS
                        .iter()
                        .take(place)
                        .any(|earlier| earlier.name == *needed),
                    "`{}` needs `{needed}`",
                    step.name
                );
            }
        }
    }

    #[test]
    fn a_failed_step_shows_in_the_total_even_if_all_its_tests_passed() {
        let endings = [
            Ending::Passed(Some(Tally {
                passed: 5,
                failed: 0,
            })),
            Ending::Passed(None),
            Ending::Failed(Some(Tally {
                passed: 2,
                failed: 0,
            })),
            Ending::Failed(None),
        ];
        assert_eq!(
            total(endings.iter()),
            Tally {
                passed: 8,
                failed: 2
            }
        );
    }

    #[test]
    fn the_fast_selection_leaves_out_style_only() {
        let selection = Selection {
            fast: true,
            steps: Vec::new(),
        };
        let names: Vec<_> = STEPS
            .iter()
            .filter(|step| selection.includes(step, Mode::Person))
            .map(|step| step.name)
            .collect();
        assert_eq!(
            names,
            [
                "setup",
                "servers",
                "guests",
                "build",
                "slim",
                "functions",
                "tests",
                "doctests"
            ]
        );
    }
}

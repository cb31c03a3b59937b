//! The options of `sortie map` that hand results on from one function to the next.

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;

use clap::Args;
use sortie_frontend::pipeline::FanIn;

/// What divides a component from its function.
const DIVIDER: char = '#';

/// Functions that take results.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct PipelineOptions {
    /// Hand each result on to this function, and write what it returns in its place. Repeatable:
    /// the next one takes the result of this one
    ///
    /// A function of the same component, or of another one: COMPONENT#FUNCTION. It takes the result
    /// as its only parameter, or as the one that is left when --arg FUNCTION.NAME=VALUE has set the
    /// others. An input is at the second function while others are at the first. If one function
    /// fails, those behind it are not called for that input, and its result says which failed.
    #[arg(long, value_name = "FUNCTION")]
    pub(crate) then: Vec<FunctionName>,
    /// Reduce all results to one with this function, which takes a list of results
    ///
    /// It is called with neighbouring results, and then with what those calls return, until one is
    /// left: it has to be associative, as sums are. Calls start while inputs are still taken. One
    /// result alone stays as it is. If anything fails, all that has not run is cancelled, and the
    /// result is that failure.
    #[arg(long, value_name = "FUNCTION", conflicts_with = "ordered")]
    pub(crate) reduce: Option<FunctionName>,
    /// How many results a call of --reduce takes at most, from 2 to 1000 [default: 16]
    #[arg(long, value_name = "COUNT", requires = "reduce")]
    pub(crate) fan_in: Option<FanIn>,
}

/// A function of the command's component, or of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FunctionName {
    /// The other component.
    pub(crate) component: Option<PathBuf>,
    pub(crate) name: String,
}

impl FromStr for FunctionName {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.rsplit_once(DIVIDER) {
            Some((component, name)) if !component.is_empty() => Self {
                component: Some(component.into()),
                name: name.into(),
            },
            _ => Self {
                component: None,
                name: text.into(),
            },
        })
    }
}

impl PipelineOptions {
    /// Whether there is any function beside the first.
    pub(crate) fn is_empty(&self) -> bool {
        self.then.is_empty() && self.reduce.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_of_the_same_component_unless_another_is_in_front() {
        let of = |text: &str| {
            let FunctionName { component, name } = text.parse().unwrap();
            (component, name)
        };
        assert_eq!(of("count"), (None, "count".into()));
        assert_eq!(
            of("other/words.wasm#merge"),
            (Some("other/words.wasm".into()), "merge".into())
        );
        assert_eq!(of("a#b.wasm#f"), (Some("a#b.wasm".into()), "f".into()));
        // No function is called so, which is said when the component is known.
        assert_eq!(of("#f"), (None, "#f".into()));
        assert_eq!(of("c#"), (Some("c".into()), String::new()));
    }
}

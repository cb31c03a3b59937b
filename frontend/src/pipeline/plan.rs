//! Functions that take each other's results, checked against each other before anything runs.

use std::sync::Arc;

use sortie::{Function, Signature, SubmitError};

use super::fan_in::FanIn;
use super::fit::{Taking, check_chain, check_reduce};
use super::fixed::Fixed;
use crate::binding::{Places, Shape};
use crate::error::{Error, Setting};

/// Functions that are to be called for each input, in this order.
#[derive(Debug)]
pub struct Functions {
    /// The one that takes the input.
    pub first: Function<()>,
    /// Those that take the result of the one before.
    pub then: Vec<Function<()>>,
    /// What reduces all results to one.
    pub reduce: Option<(Function<()>, FanIn)>,
}

/// Functions that fit each other, with their fixed arguments.
#[derive(Debug)]
pub struct Plan {
    pub(super) first: Function<()>,
    pub(super) then: Vec<Stage>,
    pub(super) reduce: Option<(Stage, FanIn)>,
}

/// A function that takes results.
#[derive(Debug)]
pub(super) struct Stage {
    pub(super) function: Function<()>,
    pub(super) shape: Shape,
}

impl Functions {
    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Function<()>> {
        let reduce = self.reduce.iter().map(|(function, _)| function);
        std::iter::once(&self.first).chain(&self.then).chain(reduce)
    }

    /// The one whose results are written for each input, or reduced.
    fn last(&self) -> &Function<()> {
        self.then.last().unwrap_or(&self.first)
    }

    /// What makes objects that are results, if something does.
    #[must_use]
    pub fn result(&self) -> &Signature {
        match &self.reduce {
            Some((function, _)) => function.signature(),
            None => self.last().signature(),
        }
    }
}

impl Plan {
    /// Check that each function can take what the one before returns. `fixed` has arguments that
    /// are the same for all inputs: of the first function by their name, of the others as
    /// `FUNCTION.NAME`. With the shape of the inputs.
    ///
    /// # Errors
    /// All that does not fit, each in one line.
    pub async fn new(
        functions: Functions,
        fixed: &[(String, String)],
        places: &Places,
    ) -> Result<(Self, Shape), Vec<Error>> {
        let mut errors: Vec<Error> = functions
            .all()
            .filter_map(|function| function.check_grants().err())
            .map(|ungranted| SubmitError::from(ungranted).into())
            .collect();
        let others: Vec<_> = functions.all().skip(1).map(Function::signature).collect();
        let (fixed, unknown) = Fixed::split(fixed, functions.first.signature(), &others);
        errors.extend(unknown);
        let first = Shape::new(functions.first.signature(), &fixed.first, places.clone()).await;
        let first = first.map_err(|error| errors.push(error)).ok();
        let mut shapes = Vec::with_capacity(others.len());
        for (signature, fixed) in others.into_iter().zip(&fixed.others) {
            let shape = Shape::new(signature, fixed, places.clone()).await;
            let shape = shape.map_err(|error| errors.push(of_function(&signature.name, error)));
            shapes.push(shape.ok());
        }
        errors.extend(misfits(&functions, &shapes));
        match (first, shapes.into_iter().collect::<Option<Vec<_>>>()) {
            (Some(first), Some(shapes)) if errors.is_empty() => {
                Ok((Self::of(functions, shapes), first))
            }
            _ => Err(errors),
        }
    }

    /// `shapes` are those of all functions but the first.
    fn of(functions: Functions, shapes: Vec<Shape>) -> Self {
        let Functions {
            first,
            then,
            reduce,
        } = functions;
        let mut shapes = shapes.into_iter();
        let then = then
            .into_iter()
            .zip(shapes.by_ref())
            .map(|(function, shape)| Stage { function, shape })
            .collect();
        let reduce = reduce
            .zip(shapes.next())
            .map(|((function, fan_in), shape)| (Stage { function, shape }, fan_in));
        Self {
            first,
            then,
            reduce,
        }
    }

    /// Whether it reduces all results to one.
    #[must_use]
    pub fn reduces(&self) -> bool {
        self.reduce.is_some()
    }

    /// How many functions each input goes through before its result is written or reduced.
    pub(super) fn functions(&self) -> usize {
        1 + self.then.len()
    }

    /// The name of the function at this place.
    pub(super) fn name(&self, place: usize) -> Arc<str> {
        let function = match place.checked_sub(1) {
            None => &self.first,
            Some(place) => self
                .then
                .get(place)
                .map_or(&self.first, |stage| &stage.function),
        };
        function.signature().name.as_str().into()
    }
}

/// What does not fit, of functions whose shape is known.
fn misfits(functions: &Functions, shapes: &[Option<Shape>]) -> Vec<Error> {
    let mut errors = Vec::new();
    let mut giving = functions.first.signature();
    for (function, shape) in functions.then.iter().zip(shapes) {
        if let Some(shape) = shape
            && let Err(misfit) = check_chain(giving, taking(function, shape))
        {
            errors.push(Error::usage(misfit).about(Setting::Then));
        }
        giving = function.signature();
    }
    if let (Some((function, _)), Some(Some(shape))) = (&functions.reduce, shapes.last())
        && let Err(misfits) = check_reduce(giving, taking(function, shape))
    {
        let misfits = misfits.into_iter().map(Error::usage);
        errors.extend(misfits.map(|error| error.about(Setting::Reduce)));
    }
    errors
}

fn taking<'a>(function: &'a Function<()>, shape: &'a Shape) -> Taking<'a> {
    Taking {
        signature: function.signature(),
        open: shape.open(),
    }
}

/// An error about an argument of a function that is not the first.
fn of_function(function: &str, error: Error) -> Error {
    match error.setting {
        Some(Setting::Argument(name)) => Error {
            setting: Some(Setting::Argument(format!("{function}.{name}"))),
            ..error
        },
        _ => error,
    }
}

//! Arguments of a task before it is released: some are, or contain, results of other tasks.

use bytes::Bytes;
use minicbor::{Decode, Encode};

use crate::argument::{Argument, ObjectRef};
use crate::codec;

/// One argument. `D` says whose result is taken.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
#[cbor(map)]
pub enum Part<D> {
    /// It is there.
    #[n(0)]
    Ready(#[n(0)] Argument),
    /// The result of a task is the whole argument.
    #[n(1)]
    Result(#[n(0)] D),
    /// A value with results in it: a [reference](crate::reference) says which of these.
    #[n(2)]
    Template(#[cbor(n(0), with = "codec::bytes")] Bytes, #[n(1)] Vec<D>),
    /// A list of objects. Where there is none, the next of these tasks makes it.
    #[n(3)]
    Objects(#[n(0)] Vec<Option<Box<ObjectRef>>>, #[n(1)] Vec<D>),
}

impl<D> Part<D> {
    /// The same, with `with` in the place of each task.
    pub fn map<E>(self, mut with: impl FnMut(D) -> E) -> Part<E> {
        match self {
            Self::Ready(argument) => Part::Ready(argument),
            Self::Result(of) => Part::Result(with(of)),
            Self::Template(value, of) => Part::Template(value, of.into_iter().map(with).collect()),
            Self::Objects(list, of) => Part::Objects(list, of.into_iter().map(with).collect()),
        }
    }

    /// Whose results it takes.
    #[must_use]
    pub fn tasks(&self) -> &[D] {
        match self {
            Self::Ready(_) => &[],
            Self::Result(of) => std::slice::from_ref(of),
            Self::Template(_, of) | Self::Objects(_, of) => of,
        }
    }

    /// The argument, if it is there.
    #[must_use]
    pub fn into_ready(self) -> Option<Argument> {
        match self {
            Self::Ready(argument) => Some(argument),
            Self::Result(_) | Self::Template(..) | Self::Objects(..) => None,
        }
    }

    /// About how many bytes it holds.
    #[must_use]
    pub fn weight(&self) -> usize {
        match self {
            Self::Ready(argument) => argument.weight(),
            Self::Result(_) => 0,
            Self::Template(value, _) => value.len(),
            Self::Objects(list, _) => {
                let weights = list.iter().flatten().map(|object| object.weight() + 4);
                weights.sum::<usize>() + 16 * list.len()
            }
        }
    }
}

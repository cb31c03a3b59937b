//! Loaded components, and their functions with options.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use sortie_protocol::filling;
use sortie_protocol::grants::{self, Need, Ungranted};
use sortie_protocol::job::Memo;
use sortie_protocol::signature::Mismatch;
use sortie_protocol::{
    ByteSize, Digest, FunctionIndex, FunctionOptions, FunctionRef, Grants, InputName, Labels, Part,
    Priority, RetryPolicy, Signature,
};

use crate::api::arguments::{Arguments, NoInput};
use crate::drive::call_key::CallKey;
use crate::drive::submitted::Dependency;

/// A loaded component: a set of functions.
#[derive(Debug, Clone)]
pub struct Component {
    pub(crate) digest: Digest,
    pub(crate) signatures: Arc<[Signature]>,
    pub(crate) size: usize,
    pub(crate) imports: Arc<[String]>,
    pub(crate) needs: Arc<[Need]>,
}

/// A call is invalid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// The component has no such function.
    #[error("no function `{name}` in the component; it has {}", list(.known))]
    NoSuchFunction {
        /// The name that was asked for.
        name: String,
        /// The names of the component's functions.
        known: Vec<String>,
    },
    /// The arguments do not match the signature.
    #[error(transparent)]
    Mismatch(#[from] Mismatch),
    /// An argument cannot be encoded.
    #[error("{0}")]
    Argument(String),
    /// An argument was found, and cannot be read.
    #[error(transparent)]
    Unread(sortie_objects::Error),
}

impl From<NoInput> for CallError {
    fn from(input: NoInput) -> Self {
        match input {
            NoInput::Unencodable(why) => Self::Argument(why),
            NoInput::Unread(error) => Self::Unread(error),
        }
    }
}

fn list(names: &[String]) -> String {
    match names {
        [] => "none".into(),
        names => names
            .iter()
            .map(|name| format!("`{name}`"))
            .collect::<Vec<_>>()
            .join(", "),
    }
}

impl Component {
    /// Its digest, which identifies it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        self.digest
    }

    /// Its size in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// The interfaces it imports.
    #[must_use]
    pub fn imports(&self) -> &[String] {
        &self.imports
    }

    /// Its functions.
    #[must_use]
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// The function with this name, whose results decode as `T`.
    ///
    /// # Errors
    /// When there is no such function; the error lists the component's functions.
    pub fn function<T>(&self, name: &str) -> Result<Function<T>, CallError> {
        let Some(signature) = self
            .signatures
            .iter()
            .find(|signature| signature.name == name)
        else {
            let known = self
                .signatures
                .iter()
                .map(|signature| signature.name.clone())
                .collect();
            return Err(CallError::NoSuchFunction {
                name: name.into(),
                known,
            });
        };
        let reference = FunctionRef {
            component: self.digest,
            name: name.into(),
        };
        Ok(Function {
            needs: self.needs.clone(),
            ..Function::new(reference, signature.clone())
        })
    }
}

/// A function with the options of its tasks. Results decode as `T`.
pub struct Function<T> {
    pub(crate) reference: FunctionRef,
    pub(crate) signature: Arc<Signature>,
    pub(crate) options: FunctionOptions,
    /// The imports of its component that need a grant, if the component was loaded here.
    needs: Arc<[Need]>,
    result: PhantomData<fn() -> T>,
}

impl<T> Clone for Function<T> {
    fn clone(&self) -> Self {
        let (reference, signature) = (self.reference.clone(), self.signature.clone());
        Self {
            reference,
            signature,
            options: self.options.clone(),
            needs: self.needs.clone(),
            result: PhantomData,
        }
    }
}

impl<T> fmt::Debug for Function<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {}", self.signature, self.reference.component)
    }
}

impl<T> Function<T> {
    /// A function by reference, with the signature it is known to have.
    #[must_use]
    pub fn new(reference: FunctionRef, signature: Signature) -> Self {
        Self {
            reference,
            signature: Arc::new(signature),
            options: FunctionOptions::default(),
            needs: [].into(),
            result: PhantomData,
        }
    }

    /// The same function, with results that are not decoded.
    pub(crate) fn untyped(&self) -> Function<()> {
        let (reference, signature) = (self.reference.clone(), self.signature.clone());
        Function {
            reference,
            signature,
            options: self.options.clone(),
            needs: self.needs.clone(),
            result: PhantomData,
        }
    }

    /// Its parameters and result type.
    #[must_use]
    pub fn signature(&self) -> &Signature {
        &self.signature
    }

    /// The options of its tasks.
    #[must_use]
    pub fn options(&self) -> &FunctionOptions {
        &self.options
    }

    /// The same function with these options.
    #[must_use]
    pub fn with_options(mut self, options: FunctionOptions) -> Self {
        self.options = options;
        self
    }

    /// The same function with a limit on memory.
    #[must_use]
    pub fn memory(mut self, limit: ByteSize) -> Self {
        self.options.limits.memory = limit;
        self
    }

    /// The same function with a wall-clock time limit for an attempt.
    #[must_use]
    pub fn timeout(mut self, limit: Duration) -> Self {
        self.options.limits.wall_time = limit;
        self
    }

    /// The same function with a CPU time limit.
    #[must_use]
    pub fn cpu_time(mut self, limit: Duration) -> Self {
        self.options.limits.cpu_time = limit;
        self
    }

    /// The same function, with this many retries after transient failures.
    #[must_use]
    pub fn retries(mut self, retries: u32) -> Self {
        self.options.retry = RetryPolicy::retries(retries);
        self
    }

    /// The same function with a priority relative to other jobs.
    #[must_use]
    pub fn priority(mut self, priority: Priority) -> Self {
        self.options.priority = priority;
        self
    }

    /// The same function, run only by workers that have all of these labels. Default none: any
    /// worker can run it. An embedded client's own worker takes every job, whatever labels it
    /// requires.
    #[must_use]
    pub fn labels(mut self, labels: Labels) -> Self {
        self.options.labels = labels;
        self
    }

    /// The same function with grants.
    #[must_use]
    pub fn grants(mut self, grants: Grants) -> Self {
        self.options.grants = grants;
        self
    }

    /// The same function, with or without the memo (the cache of results). Without it each call is
    /// a task of its own that runs.
    #[must_use]
    pub fn memo(mut self, memo: Memo) -> Self {
        self.options.memo = memo;
        self
    }

    /// What a call of it is, if an equal one is the same task.
    pub(crate) fn call_key(
        &self,
        index: FunctionIndex,
        parts: &[Part<Dependency>],
        input: Option<&InputName>,
    ) -> Option<CallKey> {
        let FunctionOptions { grants, memo, .. } = &self.options;
        let is_repeatable = grants.deterministic() && *memo == Memo::Use;
        let named = |Dependency(task): &Dependency| (task.program.job.job, task.index);
        is_repeatable.then(|| CallKey::of(index, parts, input, named))?
    }

    /// Check that its grants cover what its component imports, as submitting does. A function by
    /// reference passes: the worker that loads its component checks it.
    ///
    /// # Errors
    /// What it imports without a grant.
    pub fn check_grants(&self) -> Result<(), Ungranted> {
        grants::check(&self.needs, &self.options.grants)
    }

    /// The arguments, if they match the signature as far as they are known.
    pub(crate) fn check(&self, arguments: Arguments) -> Result<Vec<Part<Dependency>>, CallError> {
        let mut arguments = arguments.into_parts()?;
        filling::as_objects(&self.signature, &mut arguments).map_err(CallError::Argument)?;
        filling::check(&self.signature, &arguments)?;
        Ok(arguments)
    }
}

#[cfg(test)]
mod tests {
    use sortie_protocol::Grant;

    use super::*;

    #[test]
    fn a_function_is_refused_without_the_grants_that_its_component_needs() {
        let signature = Signature {
            name: "f".into(),
            doc: String::new(),
            parameters: Vec::new(),
            returns: String::new(),
        };
        let need = Need {
            import: "acme:time/now@1.0.0".into(),
            grant: Grant::Clock,
        };
        let component = Component {
            digest: Digest::of(b"component"),
            signatures: [signature].into(),
            size: 0,
            imports: [need.import.clone()].into(),
            needs: [need.clone()].into(),
        };
        let function = component.function::<()>("f").unwrap();
        assert_eq!(function.check_grants(), Err(Ungranted(vec![need])));
        assert!(function.untyped().check_grants().is_err());
        let granted = function.grants([Grant::Clock].into());
        assert_eq!(granted.check_grants(), Ok(()));
    }
}

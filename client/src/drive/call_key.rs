//! Which calls are the same.

use std::hash::{Hash as _, Hasher};

use sortie_protocol::id::DigestBuilder;
use sortie_protocol::{
    Argument, BrokerRef, FunctionIndex, InputName, JobId, Part, StoredRef, TaskIndex,
};

/// What a call in a job is: its function, its arguments and the name of its input, as the first
/// half of their SHA-256.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct CallKey([u8; 16]);

impl CallKey {
    /// The key of a call of a deterministic function; `named` names a task whose result it takes. A
    /// call that names an object or a prefix has none: what is there may be another by the time of
    /// the next call.
    pub(crate) fn of<D>(
        function: FunctionIndex,
        parts: &[Part<D>],
        input: Option<&InputName>,
        named: impl Fn(&D) -> (JobId, TaskIndex),
    ) -> Option<Self> {
        let mut key = Key(DigestBuilder::default());
        function.hash(&mut key);
        input.map(InputName::as_str).hash(&mut key);
        for part in parts {
            match part {
                Part::Ready(Argument::Value(value)) => (0_u8, value).hash(&mut key),
                // A value that is elsewhere is what its digest says.
                Part::Ready(
                    Argument::Stored(StoredRef { digest, .. })
                    | Argument::AtBroker(BrokerRef { digest, .. }),
                ) => (4_u8, digest).hash(&mut key),
                Part::Result(_) => 1_u8.hash(&mut key),
                Part::Template(value, _) => (2_u8, value).hash(&mut key),
                Part::Objects(list, _) if list.iter().all(Option::is_none) => 3_u8.hash(&mut key),
                Part::Ready(_) | Part::Objects(..) => return None,
            }
            let tasks = part.tasks();
            tasks.len().hash(&mut key);
            for task in tasks {
                named(task).hash(&mut key);
            }
        }
        let mut half = [0; 16];
        half.copy_from_slice(&key.0.finish().as_bytes()[..16]);
        Some(Self(half))
    }
}

/// Feeds what is hashed to a digest. As lengths go before contents, no two calls feed the same.
struct Key(DigestBuilder);

impl Hasher for Key {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Nothing asks for it.
    fn finish(&self) -> u64 {
        0
    }
}

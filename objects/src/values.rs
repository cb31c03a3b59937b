//! Large values: stores values that are too large for a message under their digest, and fetches
//! them.
//!
//! Fetched bytes are accepted only if they have the digest that came with their location. A value
//! in this tenant's part of the process's output store can always be fetched; any other location is
//! subject to the same rules as objects that tasks read.

use bytes::{Bytes, BytesMut};
use sortie_protocol::outcome::{InputFault, PlatformFault, Refusal};
use sortie_protocol::output::INLINE_BYTES_MAX;
use sortie_protocol::{Digest, Failure, Output, StoredRef};

use crate::output_store::TenantStore;
use crate::{Access, Address, Cursor, Error, Objects, REQUEST_BYTES_MAX, WriteError, WriteFault};

/// Prepare a value for a message: inline if it is small or there is no store, else stored. Cancel
/// safe.
///
/// # Errors
/// When the store cannot be written to.
pub async fn keep(store: Option<&TenantStore>, value: Bytes) -> Result<Output, WriteError> {
    match store {
        Some(store) if value.len() > INLINE_BYTES_MAX => store
            .put(value, Some("application/cbor"))
            .await
            .map(Output::Stored),
        Some(_) | None => Ok(Output::Value(value)),
    }
}

/// The bytes of a stored value of at most `bytes_max`. Cancel safe.
///
/// # Errors
/// When they do not exist, cannot be read, are too large, or do not match the digest.
pub async fn fetch(
    objects: &Objects,
    store: Option<&TenantStore>,
    stored: &StoredRef,
    bytes_max: u64,
) -> Result<Bytes, Error> {
    let error = |fault, message: String| Error::new(fault, message);
    let location = &stored.location;
    if stored.size > bytes_max {
        let message = format!(
            "the value at `{location}` has {} bytes; at most {bytes_max} are allowed here",
            stored.size
        );
        return Err(error(InputFault::Malformed, message));
    }
    if let Some(store) = store.filter(|store| store.location_of(stored.digest) == *location) {
        return store.get(stored.digest, stored.size).await;
    }
    let object = objects.open(&Address::from(location.clone()), None).await?;
    let others = || {
        error(
            InputFault::Changed,
            format!("the value at `{location}` is damaged: its bytes do not match its digest"),
        )
    };
    if object.info().size != stored.size {
        return Err(others());
    }
    let mut cursor = Cursor::new(object, Access::Sequential);
    let mut bytes = BytesMut::new();
    while (bytes.len() as u64) < stored.size {
        let at = bytes.len() as u64;
        let piece = cursor
            .read(at, (stored.size - at).min(REQUEST_BYTES_MAX))
            .await?;
        if piece.is_empty() {
            return Err(others());
        }
        bytes.extend_from_slice(&piece);
    }
    if Digest::of(&bytes) == stored.digest {
        Ok(bytes.freeze())
    } else {
        Err(others())
    }
}

/// The task's failure if its value `what` cannot be fetched from a store.
#[must_use]
pub fn unfetched(what: &str, error: &Error) -> Failure {
    let fault = match error.fault {
        InputFault::Unavailable => PlatformFault::StoreUnavailable,
        InputFault::Missing | InputFault::Changed => PlatformFault::ResultLost,
        InputFault::Malformed | InputFault::Denied => PlatformFault::StoreUnusable,
    };
    Failure::Platform {
        fault,
        message: format!("{what} cannot be fetched: {}", error.message),
    }
}

/// The task's failure if its output could not be stored.
#[must_use]
pub fn unkept(error: WriteError) -> Failure {
    let WriteError { fault, message, .. } = error;
    let fault = match fault {
        WriteFault::NoPlace | WriteFault::Denied | WriteFault::TooLarge => {
            PlatformFault::StoreUnusable
        }
        WriteFault::Full | WriteFault::Unavailable => PlatformFault::StoreUnavailable,
        WriteFault::Quota => {
            return Failure::Refused {
                refusal: Refusal::Quota,
                message,
            };
        }
    };
    Failure::Platform { fault, message }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Handle;

    use super::*;
    use crate::{Config, Files, Location, OutputStore};
    use sortie_protocol::TenantId;

    fn objects(files: Files) -> Objects {
        Objects::new(
            Config {
                files,
                ..Config::default()
            },
            Handle::current(),
        )
    }

    #[tokio::test]
    async fn a_large_value_is_kept_and_fetched_by_whoever_may_read_it() {
        let folder = tempfile::tempdir().unwrap();
        let store = OutputStore::new(
            objects(Files::Nowhere),
            Location::File(folder.path().into()),
        )
        .of(TenantId::default());
        let value = Bytes::from(vec![7; INLINE_BYTES_MAX + 1]);
        assert_eq!(
            keep(None, value.clone()).await,
            Ok(Output::Value(value.clone()))
        );
        assert_eq!(
            keep(Some(&store), value.slice(1..)).await,
            Ok(Output::Value(value.slice(1..)))
        );
        let Ok(Output::Stored(stored)) = keep(Some(&store), value.clone()).await else {
            panic!("it was not stored")
        };
        let (max, nowhere) = (1 << 20, objects(Files::Nowhere));
        // Its own store is always readable; other locations only if allowed.
        assert_eq!(
            fetch(&nowhere, Some(&store), &stored, max).await.unwrap(),
            value
        );
        assert_eq!(
            fetch(&objects(Files::Everywhere), None, &stored, max)
                .await
                .unwrap(),
            value
        );
        assert_eq!(
            fetch(&nowhere, None, &stored, max).await.unwrap_err().fault,
            InputFault::Denied
        );
        assert_eq!(
            fetch(&nowhere, Some(&store), &stored, 100)
                .await
                .unwrap_err()
                .fault,
            InputFault::Malformed
        );
    }

    #[tokio::test]
    async fn other_bytes_are_not_taken_for_the_value() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        std::fs::write(&path, "abc").unwrap();
        let location = Location::File(path.clone());
        let stored = |bytes: &[u8], size| StoredRef {
            digest: Digest::of(bytes),
            size,
            location: location.clone(),
        };
        let objects = objects(Files::Everywhere);
        assert_eq!(
            fetch(&objects, None, &stored(b"abc", 3), 9).await.unwrap(),
            "abc"
        );
        for wrong in [stored(b"abd", 3), stored(b"ab", 2), stored(b"abcd", 4)] {
            let error = fetch(&objects, None, &wrong, 9).await.unwrap_err();
            assert!(
                error.fault == InputFault::Changed && error.message.contains("do not match"),
                "{error}"
            );
        }
    }
}

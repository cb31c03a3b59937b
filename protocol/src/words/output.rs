//! A function's result: a value or an object, and the location of a value that is too large for a
//! message.
//!
//! A message has at most a megabyte, and a follower of a job holds many messages. So a value over
//! [`INLINE_BYTES_MAX`] is stored in the host's output store, under the digest of its bytes, and
//! the message contains only a reference. Where there is no store, a broker that is a process of
//! its own keeps the value beside the job, and one in this process takes it inline. A reader
//! compares a stored value's bytes with the digest, so a forged location is harmless.

use bytes::Bytes;
use minicbor::data::Type;
use minicbor::encode::Write;
use minicbor::{Decode, Decoder, Encode, Encoder};
use serde::{Deserialize, Serialize};

use crate::codec;
use crate::id::{Digest, JobId, TaskIndex};
use crate::location::Location;

/// The largest value that travels in messages, where there is anything else that it could be in: a
/// quarter of what NATS takes, so that a few fit one message.
pub const INLINE_BYTES_MAX: usize = 256 << 10;

/// Bytes in a store, named by what they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct StoredRef {
    /// The digest of the bytes.
    #[n(0)]
    pub digest: Digest,
    /// How many there are.
    #[n(1)]
    pub size: u64,
    /// Where they are.
    #[n(2)]
    pub location: Location,
}

/// A value that the broker keeps as long as a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct BrokerRef {
    /// The job, of the tenant whose task names the value.
    #[n(0)]
    pub job: JobId,
    /// The digest of the value's bytes.
    #[n(1)]
    pub digest: Digest,
    /// How many there are.
    #[n(2)]
    pub size: u64,
    /// The task whose result it is. Without one it is an argument.
    #[n(3)]
    pub task: Option<TaskIndex>,
}

/// An object that a function made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct OutputObject {
    /// Its bytes.
    #[n(0)]
    pub stored: StoredRef,
    /// Its media type, if the function said one.
    #[n(1)]
    pub content_type: Option<String>,
}

/// What a function answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Output {
    /// One complete CBOR item.
    Value(Bytes),
    /// One complete CBOR item, in a store.
    Stored(StoredRef),
    /// An object.
    Object(OutputObject),
    /// One complete CBOR item, at the broker.
    AtBroker(BrokerRef),
}

/// What of an [`Output`] is elsewhere, as it travels. A value that is not travels as its bytes and
/// nothing else.
#[derive(Encode, Decode)]
#[cbor(map)]
enum Kept {
    #[n(0)]
    Value(#[n(0)] StoredRef),
    #[n(1)]
    Object(#[n(0)] OutputObject),
    #[n(2)]
    AtBroker(#[n(0)] BrokerRef),
}

impl<C> Encode<C> for Output {
    fn encode<W: Write>(
        &self,
        encoder: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Result<(), minicbor::encode::Error<W::Error>> {
        match self {
            Self::Value(bytes) => codec::bytes::encode(bytes, encoder, ctx),
            Self::Stored(stored) => Kept::Value(stored.clone()).encode(encoder, ctx),
            Self::Object(object) => Kept::Object(object.clone()).encode(encoder, ctx),
            Self::AtBroker(kept) => Kept::AtBroker(*kept).encode(encoder, ctx),
        }
    }
}

impl<'b, C> Decode<'b, C> for Output {
    fn decode(decoder: &mut Decoder<'b>, ctx: &mut C) -> Result<Self, minicbor::decode::Error> {
        if decoder.datatype()? == Type::Bytes {
            return codec::bytes::decode(decoder, ctx).map(Self::Value);
        }
        Ok(match Kept::decode(decoder, ctx)? {
            Kept::Value(stored) => Self::Stored(stored),
            Kept::Object(object) => Self::Object(object),
            Kept::AtBroker(kept) => Self::AtBroker(kept),
        })
    }
}

impl<T: Into<Bytes>> From<T> for Output {
    fn from(value: T) -> Self {
        Self::Value(value.into())
    }
}

impl Output {
    /// Bytes of the value or of the object.
    #[must_use]
    pub fn size(&self) -> u64 {
        match self {
            Self::Value(bytes) => bytes.len() as u64,
            Self::Stored(stored) => stored.size,
            Self::Object(object) => object.stored.size,
            Self::AtBroker(kept) => kept.size,
        }
    }

    /// The value, if it is one and here.
    #[must_use]
    pub fn into_value(self) -> Option<Bytes> {
        match self {
            Self::Value(value) => Some(value),
            Self::Stored(_) | Self::Object(_) | Self::AtBroker(_) => None,
        }
    }

    /// What of it is in a store, if anything is.
    #[must_use]
    pub fn stored(&self) -> Option<&StoredRef> {
        match self {
            Self::Value(_) | Self::AtBroker(_) => None,
            Self::Stored(stored) => Some(stored),
            Self::Object(object) => Some(&object.stored),
        }
    }

    /// Whether it is a value that has to be fetched.
    #[must_use]
    pub fn is_elsewhere(&self) -> bool {
        match self {
            Self::Stored(_) | Self::AtBroker(_) => true,
            Self::Value(_) | Self::Object(_) => false,
        }
    }

    /// About how many bytes it takes in a message.
    #[must_use]
    pub fn weight(&self) -> usize {
        match self {
            Self::Value(bytes) => bytes.len(),
            Self::Stored(stored) => stored.weight(),
            Self::Object(object) => {
                object.stored.weight() + object.content_type.as_ref().map_or(0, String::len)
            }
            Self::AtBroker(_) => BrokerRef::WEIGHT,
        }
    }
}

impl BrokerRef {
    /// The name of a value that `job` has: the result of `task`, or an argument.
    #[must_use]
    pub fn new(job: JobId, task: Option<TaskIndex>, value: &[u8]) -> Self {
        Self {
            job,
            digest: Digest::of(value),
            size: value.len() as u64,
            task,
        }
    }

    /// About how many bytes it takes in a message.
    pub const WEIGHT: usize = 76;
}

impl StoredRef {
    /// About how many bytes it takes in a message.
    #[must_use]
    pub fn weight(&self) -> usize {
        48 + self.location.weight()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_weighs_as_much_as_its_name() {
        let stored = StoredRef {
            digest: Digest::of(b"x"),
            size: 1 << 40,
            location: "s3://bucket/x".parse().unwrap(),
        };
        let output = Output::Stored(stored.clone());
        assert_eq!(
            (output.size(), output.weight(), output.stored()),
            (1 << 40, 63, Some(&stored))
        );
        assert_eq!(
            (
                Output::from(vec![0; 7]).size(),
                Output::from(vec![0; 7]).weight()
            ),
            (7, 7)
        );
    }
}

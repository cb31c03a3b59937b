//! Arguments of tasks: values, objects, prefixes.

use std::ops::Deref;
use std::sync::Arc;

use bytes::Bytes;
use minicbor::{Decode, Decoder, Encode};
use serde::{Deserialize, Deserializer, Serialize};

use crate::address::{Address, Place};
use crate::codec;
use crate::kind::Kind;
use crate::output::{BrokerRef, StoredRef};

/// One argument of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(flat)]
pub enum Argument {
    /// One complete CBOR item (RFC 8949).
    #[n(0)]
    Value(#[cbor(n(0), with = "codec::bytes")] Bytes),
    /// An object; the worker opens it and hands the function a handle.
    #[n(1)]
    Object(#[n(0)] ObjectRef),
    /// One complete CBOR item that is too large for a message; the worker fetches it, and compares
    /// it with its digest.
    #[n(2)]
    Stored(#[n(0)] StoredRef),
    /// A place that objects lie below; the worker hands the function a handle to it.
    #[n(3)]
    Prefix(#[n(0)] Place),
    /// One complete CBOR item, as [`Argument::Stored`], which the broker keeps.
    #[n(4)]
    AtBroker(#[n(0)] BrokerRef),
    /// Objects, in order; the worker opens them and hands the function a handle to each.
    #[n(5)]
    Objects(#[n(0)] ObjectList),
}

impl Argument {
    /// How it travels.
    #[must_use]
    pub fn kind(&self) -> Kind {
        match self {
            Self::Value(_) | Self::Stored(_) | Self::AtBroker(_) => Kind::Value,
            Self::Object(_) => Kind::Object,
            Self::Prefix(_) => Kind::Prefix,
            Self::Objects(_) => Kind::Objects,
        }
    }

    /// The objects that it names.
    #[must_use]
    pub fn objects(&self) -> &[ObjectRef] {
        match self {
            Self::Object(object) => std::slice::from_ref(object),
            Self::Objects(list) => list,
            Self::Value(_) | Self::Stored(_) | Self::AtBroker(_) | Self::Prefix(_) => &[],
        }
    }

    /// About how many bytes it takes in a message or a queue.
    #[must_use]
    pub fn weight(&self) -> usize {
        match self {
            Self::Value(bytes) => bytes.len(),
            Self::Object(object) => object.weight(),
            Self::Stored(stored) => stored.weight(),
            Self::Prefix(place) => place.location().weight(),
            Self::AtBroker(_) => BrokerRef::WEIGHT,
            Self::Objects(list) => list.weight(),
        }
    }
}

/// An object as a task names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct ObjectRef {
    /// Where it is, and which of its bytes are meant.
    #[n(0)]
    pub address: Address,
    /// The version that the submitter saw; if absent, the task gets the one that it first sees.
    #[n(1)]
    pub pin: Option<Pin>,
}

/// Objects that are one argument together: few enough for one message, and for the handles that a
/// task may hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Encode)]
#[serde(transparent)]
#[cbor(transparent)]
pub struct ObjectList(Vec<ObjectRef>);

/// A list of objects is too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooLong {
    /// It has too many objects.
    #[error("a list of {0} objects; at most {max} are one argument", max = ObjectList::LEN_MAX)]
    Objects(usize),
    /// Their names are too long together.
    #[error(
        "a list of objects whose names take {0} bytes; at most {max} fit into a message",
        max = ObjectList::WEIGHT_MAX
    )]
    Names(usize),
}

impl ObjectList {
    /// The most objects in a list.
    pub const LEN_MAX: usize = 1000;
    /// The most bytes that a list takes in a message, about half of what NATS takes.
    pub const WEIGHT_MAX: usize = 512 << 10;

    /// About how many bytes it takes in a message.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.0.iter().map(|object| object.weight() + 4).sum()
    }
}

impl TryFrom<Vec<ObjectRef>> for ObjectList {
    type Error = TooLong;

    fn try_from(objects: Vec<ObjectRef>) -> Result<Self, TooLong> {
        if objects.len() > Self::LEN_MAX {
            return Err(TooLong::Objects(objects.len()));
        }
        let list = Self(objects);
        match list.weight() {
            weight if weight > Self::WEIGHT_MAX => Err(TooLong::Names(weight)),
            _ => Ok(list),
        }
    }
}

impl Deref for ObjectList {
    type Target = [ObjectRef];

    fn deref(&self) -> &[ObjectRef] {
        &self.0
    }
}

impl<'b, C> Decode<'b, C> for ObjectList {
    fn decode(decoder: &mut Decoder<'b>, context: &mut C) -> Result<Self, minicbor::decode::Error> {
        let objects: Vec<ObjectRef> = decoder.decode_with(context)?;
        Self::try_from(objects).map_err(minicbor::decode::Error::message)
    }
}

impl<'de> Deserialize<'de> for ObjectList {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let objects = Vec::deserialize(deserializer)?;
        Self::try_from(objects).map_err(serde::de::Error::custom)
    }
}

/// One version of an object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Encode, Decode)]
#[cbor(map)]
pub struct Pin {
    /// The store's validator.
    #[cbor(n(0), with = "codec::text")]
    pub etag: Arc<str>,
    /// Bytes of the whole object.
    #[n(1)]
    pub size: u64,
}

impl ObjectRef {
    /// About how many bytes it takes in a message.
    #[must_use]
    pub fn weight(&self) -> usize {
        self.address.weight() + self.pin.as_ref().map_or(0, |pin| pin.etag.len() + 12)
    }
}

impl From<Address> for ObjectRef {
    fn from(address: Address) -> Self {
        Self { address, pin: None }
    }
}

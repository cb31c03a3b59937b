//! The CBOR encoding of values, beyond what the derives define.
//!
//! The form, the same for every type here: a struct is a map with small integers for keys,
//! ascending; an enum with fields is an array of a number and such a map (an argument, of which
//! there are many, has its one field in the map's place); an enum without fields is a number; an id
//! is its bytes; a time or a length of time is nanoseconds. A zero or an empty set that says
//! nothing is left out. A reader skips keys that it does not know, so a field may be added at any
//! time if readers can do without it; a number once given is never given again.
//!
//! Two traps. A new variant is not a new field: older readers refuse the message, so it needs a new
//! version. And no field that may be absent holds an enum without fields: the derive reads an
//! unknown variant there as an absent field, and steps over one item too many.
//!
//! [`check`] looks at the bytes before anything is built from them. It bounds the nesting, and
//! refuses what no writer here writes: keys twice or out of order, tags, items of unknown length,
//! bytes after the end. What is decoded after it takes less than a hundred times the memory of its
//! bytes, as no length is believed before its items were seen.

use std::sync::Arc;
use std::time::Duration;

use ::bytes::Bytes;
use minicbor::data::Type;
use minicbor::decode::Error;
use minicbor::encode::Write;
use minicbor::{Decoder, Encoder};

type Decoded<T> = Result<T, Error>;
type Encoded<W> = Result<(), minicbor::encode::Error<<W as Write>::Error>>;

/// How deep arrays and maps may nest. Version 1 nests ten deep; the rest is room for fields to
/// come.
pub(crate) const NESTING_MAX: usize = 16;

/// Whether a field says nothing and is left out.
pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Check that `bytes` are one item as this crate writes them.
pub(crate) fn check(bytes: &[u8]) -> Result<(), Error> {
    let mut decoder = Decoder::new(bytes);
    check_item(&mut decoder, NESTING_MAX)?;
    match bytes.len() - decoder.position() {
        0 => Ok(()),
        more => Err(
            Error::message(format!("{more} bytes more than the message")).at(decoder.position()),
        ),
    }
}

fn check_item(decoder: &mut Decoder<'_>, nesting_left: usize) -> Result<(), Error> {
    let position = decoder.position();
    let refused = |what: &str| Error::message(what).at(position);
    let nesting_left = || {
        nesting_left
            .checked_sub(1)
            .ok_or_else(|| refused("nested too deep"))
    };
    match decoder.datatype()? {
        Type::Array => {
            let nesting_left = nesting_left()?;
            for _ in 0..decoder.array()?.unwrap_or_default() {
                check_item(decoder, nesting_left)?;
            }
            Ok(())
        }
        Type::Map => {
            let nesting_left = nesting_left()?;
            let mut next = Some(0);
            for _ in 0..decoder.map()?.unwrap_or_default() {
                let key = decoder.u64()?;
                if next.is_none_or(|next| key < next) {
                    return Err(refused("a map whose keys do not ascend"));
                }
                next = key.checked_add(1);
                check_item(decoder, nesting_left)?;
            }
            Ok(())
        }
        Type::ArrayIndef | Type::MapIndef | Type::BytesIndef | Type::StringIndef => {
            Err(refused("an item of unknown length"))
        }
        Type::Tag => Err(refused("a tag")),
        Type::Break | Type::Unknown(_) => Err(refused("not an item")),
        Type::Bool
        | Type::Null
        | Type::Undefined
        | Type::U8
        | Type::U16
        | Type::U32
        | Type::U64
        | Type::I8
        | Type::I16
        | Type::I32
        | Type::I64
        | Type::Int
        | Type::F16
        | Type::F32
        | Type::F64
        | Type::Simple
        | Type::Bytes
        | Type::String => decoder.skip(),
    }
}

/// [`Bytes`] as a byte string.
pub(crate) mod bytes {
    use super::{Bytes, Decoded, Decoder, Encoded, Encoder, Write};

    pub(crate) fn encode<C, W: Write>(
        value: &Bytes,
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Encoded<W> {
        encoder.bytes(value)?.ok()
    }

    pub(crate) fn decode<C>(decoder: &mut Decoder<'_>, _: &mut C) -> Decoded<Bytes> {
        decoder.bytes().map(Bytes::copy_from_slice)
    }
}

/// A shared `str` as text.
pub(crate) mod text {
    use super::{Arc, Decoded, Decoder, Encoded, Encoder, Write};

    pub(crate) fn encode<C, W: Write>(
        value: &Arc<str>,
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Encoded<W> {
        encoder.str(value)?.ok()
    }

    pub(crate) fn decode<C>(decoder: &mut Decoder<'_>, _: &mut C) -> Decoded<Arc<str>> {
        decoder.str().map(Arc::from)
    }
}

/// A [`Duration`] as nanoseconds; one beyond 584 years is written as 584 years.
pub(crate) mod nanos {
    use super::{Decoded, Decoder, Duration, Encoded, Encoder, Write};

    pub(crate) fn encode<C, W: Write>(
        value: &Duration,
        encoder: &mut Encoder<W>,
        _: &mut C,
    ) -> Encoded<W> {
        encoder
            .u64(u64::try_from(value.as_nanos()).unwrap_or(u64::MAX))?
            .ok()
    }

    pub(crate) fn decode<C>(decoder: &mut Decoder<'_>, _: &mut C) -> Decoded<Duration> {
        decoder.u64().map(Duration::from_nanos)
    }
}

/// A [`Duration`] that may be absent. For fields that are left out when it is.
pub(crate) mod nanos_if_any {
    use super::{Decoded, Decoder, Duration, Encoded, Encoder, Write, nanos};

    pub(crate) fn encode<C, W: Write>(
        value: &Option<Duration>,
        encoder: &mut Encoder<W>,
        ctx: &mut C,
    ) -> Encoded<W> {
        match value {
            Some(duration) => nanos::encode(duration, encoder, ctx),
            None => encoder.null()?.ok(),
        }
    }

    pub(crate) fn decode<C>(decoder: &mut Decoder<'_>, ctx: &mut C) -> Decoded<Option<Duration>> {
        nanos::decode(decoder, ctx).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(bytes: &[u8]) -> String {
        check(bytes).unwrap_err().to_string()
    }

    #[test]
    fn what_no_writer_here_writes_is_refused() {
        assert!(check(&[0xa2, 0x00, 0x01, 0x05, 0x80]).is_ok());
        assert!(refusal(&[0xa2, 0x00, 0x01, 0x00, 0x01]).contains("do not ascend"));
        assert!(refusal(&[0xa2, 0x01, 0x01, 0x00, 0x01]).contains("do not ascend"));
        assert!(refusal(&[0x9f, 0xff]).contains("unknown length"));
        assert!(refusal(&[0x5f, 0x41, 0x00, 0xff]).contains("unknown length"));
        assert!(refusal(&[0xc1, 0x00]).contains("a tag"));
        assert!(refusal(&[0xff]).contains("not an item"));
        assert!(refusal(&[0x80, 0x80]).contains("1 bytes more"));
        assert!(check(&[0xa1, 0x1b, 255, 255, 255, 255, 255, 255, 255, 255, 0x00]).is_ok());
    }

    #[test]
    fn nesting_has_a_bound_and_lengths_are_not_believed() {
        assert!(refusal(&[0x81; 1 << 20]).contains("too deep"));
        let mut deepest = vec![0x81; NESTING_MAX];
        deepest.push(0x00);
        assert!(check(&deepest).is_ok());
        for huge in [0x9b, 0xbb, 0x5b, 0x7b] {
            assert!(check(&[huge, 255, 255, 255, 255, 255, 255, 255, 255]).is_err());
        }
    }
}

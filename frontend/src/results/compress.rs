//! Compresses results on their way to where they go: gzip or Zstandard, by the extension of the
//! name.
//!
//! What was compressed can be read up to the last time that it was flushed, however the run ends.

use std::io::Write as _;

use flate2::write::GzEncoder;
use zstd::stream::write::Encoder as ZstdEncoder;

use crate::error::Error;

/// How results are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// What a store is told of the object's bytes.
    pub(crate) fn content_type(self) -> Option<&'static str> {
        match self {
            Self::None => None,
            Self::Gzip => Some("application/gzip"),
            Self::Zstd => Some("application/zstd"),
        }
    }
}

/// Compresses a stream.
pub(crate) enum Compressor {
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(ZstdEncoder<'static, Vec<u8>>),
}

impl std::fmt::Debug for Compressor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Gzip(_) => "Gzip",
            Self::Zstd(_) => "Zstd",
        })
    }
}

impl Compressor {
    /// One for a stream that begins; none where nothing is compressed.
    ///
    /// # Errors
    /// When the library has no memory.
    pub(crate) fn new(compression: Compression) -> Result<Option<Self>, Error> {
        Ok(match compression {
            Compression::None => None,
            Compression::Gzip => {
                let level = flate2::Compression::default();
                Some(Self::Gzip(GzEncoder::new(Vec::new(), level)))
            }
            Compression::Zstd => {
                let encoder = ZstdEncoder::new(Vec::new(), zstd::DEFAULT_COMPRESSION_LEVEL);
                Some(Self::Zstd(encoder.map_err(failed)?))
            }
        })
    }

    /// Compress `plain`, which is emptied, so that it can be read from what is appended to `out`.
    ///
    /// # Errors
    /// When the library fails.
    pub(crate) fn append(&mut self, plain: &mut Vec<u8>, out: &mut Vec<u8>) -> Result<(), Error> {
        if plain.is_empty() {
            return Ok(());
        }
        match self {
            Self::Gzip(encoder) => {
                let written = encoder.write_all(plain).and_then(|()| encoder.flush());
                written.map_err(failed)?;
                out.append(encoder.get_mut());
            }
            Self::Zstd(encoder) => {
                let written = encoder.write_all(plain).and_then(|()| encoder.flush());
                written.map_err(failed)?;
                out.append(encoder.get_mut());
            }
        }
        plain.clear();
        Ok(())
    }

    /// Append the end of the stream.
    ///
    /// # Errors
    /// When the library fails.
    pub(crate) fn finish(self, out: &mut Vec<u8>) -> Result<(), Error> {
        let mut rest = match self {
            Self::Gzip(encoder) => encoder.finish(),
            Self::Zstd(encoder) => encoder.finish(),
        }
        .map_err(failed)?;
        out.append(&mut rest);
        Ok(())
    }
}

fn failed(error: std::io::Error) -> Error {
    Error::platform(format!("failed to compress the results: {error}"))
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn read(compression: Compression, mut bytes: &[u8]) -> String {
        let mut text = Vec::new();
        // Of a stream without an end what was flushed is read, and then there is an error.
        let _ = match compression {
            Compression::None => bytes.read_to_end(&mut text),
            Compression::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut text),
            Compression::Zstd => zstd::stream::read::Decoder::new(bytes)
                .unwrap()
                .read_to_end(&mut text),
        };
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn what_was_flushed_can_be_read_without_the_end() {
        for compression in [Compression::Gzip, Compression::Zstd] {
            let mut compressor = Compressor::new(compression).unwrap().unwrap();
            let mut out = Vec::new();
            for line in ["one\n", "two\n"] {
                let mut plain = line.as_bytes().to_vec();
                compressor.append(&mut plain, &mut out).unwrap();
                assert!(plain.is_empty());
            }
            assert_eq!(read(compression, &out), "one\ntwo\n", "{compression:?}");
            compressor.finish(&mut out).unwrap();
            assert_eq!(read(compression, &out), "one\ntwo\n", "{compression:?}");
        }
    }
}

//! The randomness of a task: a stream that follows from its content, or the operating system's
//! under the grant `random`.
//!
//! Without the grant, random bytes are a BLAKE3 stream keyed by the task's content: equal for equal
//! tasks, different for others.

use rustix::rand::{GetRandomFlags, getrandom};
use sortie_protocol::{Grant, Grants};
use wasmtime::component::HasData;
use wasmtime_wasi::p2::bindings::random::{insecure, insecure_seed, random};

/// The most random bytes in one call.
const BYTES_MAX: u64 = 64 << 10;

/// A task's randomness.
#[derive(Debug)]
pub(in crate::sandbox) struct RandomCtx {
    /// Whether the task was granted randomness of the operating system.
    is_real: bool,
    /// The key of the stream of random bytes.
    seed: [u8; 32],
    /// Made when it is first read: most tasks never do.
    stream: Option<Box<blake3::OutputReader>>,
}

impl RandomCtx {
    pub(in crate::sandbox) fn new(grants: &Grants, seed: [u8; 32]) -> Self {
        Self {
            is_real: grants.contains(&Grant::Random),
            seed,
            stream: None,
        }
    }

    fn fill(&mut self, bytes: &mut [u8]) -> wasmtime::Result<()> {
        if self.is_real {
            getrandom(bytes, GetRandomFlags::empty()).map_err(wasmtime::Error::new)?;
        } else {
            let seed = &self.seed;
            let stream = self
                .stream
                .get_or_insert_with(|| Box::new(blake3::Hasher::new_keyed(seed).finalize_xof()));
            stream.fill(bytes);
        }
        Ok(())
    }

    fn number(&mut self) -> wasmtime::Result<u64> {
        let mut bytes = [0; 8];
        self.fill(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        wasmtime::ensure!(
            len <= BYTES_MAX,
            "asked for {len} random bytes at once; at most {BYTES_MAX} are given"
        );
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }
}

/// Finds a task's randomness in the data of its store.
pub(in crate::sandbox) trait RandomView: Send {
    fn random(&mut self) -> &mut RandomCtx;
}

/// Tells wasmtime that the host functions work on a [`RandomCtx`].
pub(in crate::sandbox::imports) struct HasRandom;

impl HasData for HasRandom {
    type Data<'a> = &'a mut RandomCtx;
}

impl random::Host for RandomCtx {
    fn get_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.bytes(len)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.number()
    }
}

impl insecure::Host for RandomCtx {
    fn get_insecure_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.bytes(len)
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.number()
    }
}

impl insecure_seed::Host for RandomCtx {
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        Ok((self.number()?, self.number()?))
    }
}

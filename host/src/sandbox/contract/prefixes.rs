//! The host's side of prefixes: places that many objects lie below.
//!
//! Which names reach an object below a prefix, and which reach out of it,
//! [`sortie_objects::Prefix`] decides.

use wasmtime::component::Resource;

use super::super::State;
use super::{Handle, wit_objects};
use crate::clock;
use sortie_objects as objects;

/// A prefix, as the guest holds it.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Prefix {
    prefix: objects::Prefix,
}

impl Prefix {
    pub(in crate::sandbox) fn new(prefix: objects::Prefix) -> Self {
        Self { prefix }
    }
}

/// A listing, as the guest holds it.
#[derive(Debug)]
#[expect(unreachable_pub, reason = "the generated bindings re-export it")]
pub struct Listing {
    /// None while a call waits for it.
    listing: Option<objects::Listing>,
}

impl State {
    /// The error as the guest sees it.
    fn fail_below(&mut self, error: objects::Error) -> wit_objects::Error {
        use sortie_protocol::outcome::InputFault as F;
        match error.fault {
            F::Missing => wit_objects::Error::Missing,
            F::Malformed => wit_objects::Error::Invalid(error.message),
            F::Changed | F::Denied | F::Unavailable => {
                let answer = super::object_error(&error);
                self.input_error.get_or_insert(error);
                answer
            }
        }
    }
}

impl wit_objects::HostPrefix for State {
    fn name(&mut self, prefix: Resource<Prefix>) -> wasmtime::Result<String> {
        Ok(self.table.get(&prefix)?.prefix.name())
    }

    fn list(
        &mut self,
        prefix: Resource<Prefix>,
        below: String,
    ) -> wasmtime::Result<Result<Resource<Listing>, wit_objects::Error>> {
        let listing = self.table.get(&prefix)?.prefix.list(&below);
        match listing {
            Ok(listing) => {
                self.admit_handle()?;
                Ok(Ok(self.table.push(Listing {
                    listing: Some(listing),
                })?))
            }
            Err(error) => Ok(Err(self.fail_below(error))),
        }
    }

    async fn open(
        &mut self,
        prefix: Resource<Prefix>,
        name: String,
    ) -> wasmtime::Result<Result<Resource<Handle>, wit_objects::Error>> {
        let prefix = self.table.get(&prefix)?.prefix.clone();
        let began = clock::instant();
        let opened = self
            .watch
            .bound_if_slow(prefix.open(&name))
            .await
            .map_err(wasmtime::Error::new)?;
        self.fetch += clock::instant() - began;
        match opened {
            Ok(object) => {
                self.admit_handle()?;
                Ok(Ok(self.table.push(Handle::new(object))?))
            }
            Err(error) => Ok(Err(self.fail_below(error))),
        }
    }

    fn drop(&mut self, prefix: Resource<Prefix>) -> wasmtime::Result<()> {
        self.table.delete(prefix)?;
        self.handles = self.handles.saturating_sub(1);
        Ok(())
    }
}

impl wit_objects::HostListing for State {
    async fn next(
        &mut self,
        listing: Resource<Listing>,
    ) -> wasmtime::Result<Result<Vec<wit_objects::Entry>, wit_objects::Error>> {
        let Some(mut taken) = self.table.get_mut(&listing)?.listing.take() else {
            wasmtime::bail!("a listing that is in use");
        };
        let began = clock::instant();
        let next = self
            .watch
            .bound_if_slow(taken.next())
            .await
            .map_err(wasmtime::Error::new)?;
        self.fetch += clock::instant() - began;
        self.table.get_mut(&listing)?.listing = Some(taken);
        match next {
            Ok(entries) => Ok(Ok(entries
                .into_iter()
                .map(|entry| wit_objects::Entry {
                    name: entry.path,
                    size: entry.size,
                })
                .collect())),
            Err(error) => Ok(Err(self.fail_below(error))),
        }
    }

    fn drop(&mut self, listing: Resource<Listing>) -> wasmtime::Result<()> {
        self.table.delete(listing)?;
        self.handles = self.handles.saturating_sub(1);
        Ok(())
    }
}

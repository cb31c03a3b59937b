//! Host functions that list prefixes and open objects below them: `prefix` and `listing` of
//! `sortie:task/objects`.
//!
//! Which names are objects below a prefix, and which leave it, [`sortie_objects::Prefix`] decides.

use sortie_objects as objects;
use sortie_protocol::outcome::InputFault;
use wasmtime::component::Resource;

use super::handles::{Handle, Listing, ObjectsCtxView, Prefix};
use super::objects::read_error;
use crate::sandbox::bindings::objects as wit;

impl ObjectsCtxView<'_> {
    /// An error of a listing as the function sees it. Where nothing is below a name the listing is
    /// empty, so what is missing is the bucket: the input's fault.
    fn fail_listing(&mut self, error: objects::Error) -> wit::Error {
        if error.fault == InputFault::Missing {
            self.objects.error.get_or_insert(error);
            return wit::Error::Missing;
        }
        self.fail_below(error)
    }

    /// An error as the function sees it. A name that is wrong or has no object is the function's
    /// own doing and no fault of the input.
    fn fail_below(&mut self, error: objects::Error) -> wit::Error {
        match error.fault {
            InputFault::Missing => wit::Error::Missing,
            InputFault::Malformed => wit::Error::Invalid(error.for_guest().to_owned()),
            InputFault::Changed | InputFault::Denied | InputFault::Unavailable => {
                let answer = read_error(&error);
                self.objects.error.get_or_insert(error);
                answer
            }
        }
    }
}

impl wit::HostPrefix for ObjectsCtxView<'_> {
    fn name(&mut self, prefix: Resource<Prefix>) -> wasmtime::Result<String> {
        Ok(self.table.get(&prefix)?.prefix.name())
    }

    fn list(
        &mut self,
        prefix: Resource<Prefix>,
        below: String,
    ) -> wasmtime::Result<Result<Resource<Listing>, wit::Error>> {
        let listing = self.table.get(&prefix)?.prefix.list(&below);
        match listing {
            Ok(listing) => {
                self.objects.admit_listing()?;
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
    ) -> wasmtime::Result<Result<Resource<Handle>, wit::Error>> {
        let prefix = self.table.get(&prefix)?.prefix.clone();
        match self.wait_for_object(prefix.open(&name)).await? {
            Ok(object) => {
                self.objects.admit()?;
                Ok(Ok(self.table.push(Handle::new(object))?))
            }
            Err(error) => Ok(Err(self.fail_below(error))),
        }
    }

    fn drop(&mut self, prefix: Resource<Prefix>) -> wasmtime::Result<()> {
        self.table.delete(prefix)?;
        self.objects.release();
        Ok(())
    }
}

impl wit::HostListing for ObjectsCtxView<'_> {
    async fn next(
        &mut self,
        listing: Resource<Listing>,
    ) -> wasmtime::Result<Result<Vec<wit::Entry>, wit::Error>> {
        let Some(mut taken) = self.table.get_mut(&listing)?.listing.take() else {
            wasmtime::bail!("a listing that is in use");
        };
        let next = self.wait_for_object(taken.next()).await?;
        self.table.get_mut(&listing)?.listing = Some(taken);
        match next {
            Ok(entries) => Ok(Ok(entries
                .into_iter()
                .map(|entry| wit::Entry {
                    name: entry.path,
                    size: entry.size,
                })
                .collect())),
            Err(error) => Ok(Err(self.fail_listing(error))),
        }
    }

    fn drop(&mut self, listing: Resource<Listing>) -> wasmtime::Result<()> {
        self.table.delete(listing)?;
        self.objects.release_listing();
        Ok(())
    }
}

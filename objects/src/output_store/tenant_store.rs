//! A tenant's part of an output store: stores objects under the digest of their content, and
//! checks what it reads.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use sortie_protocol::Advice;
use sortie_protocol::outcome::InputFault;
use sortie_protocol::{Digest, StoredRef, TenantId, id};

use super::layout::{INCOMING, OBJECTS, STREAM_BYTES_MAX};
use super::quota::{Claim, Quotas};
use crate::{Error, Location, Objects, PART_BYTES, Upload, WriteError, WriteFault};

/// A tenant's part of an output store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct TenantStore {
    pub(super) objects: Objects,
    pub(super) place: Arc<Location>,
    pub(super) quotas: Option<Arc<Quotas>>,
    pub(super) tenant: TenantId,
}

/// Room in a tenant's quota for what is being written. Dropping it gives the room back.
#[derive(Debug)]
#[must_use = "room that is not kept is given back"]
pub struct Reserved(Option<Claim>);

impl Reserved {
    /// What it was for is written.
    pub fn keep(self) {
        if let Some(claim) = self.0 {
            claim.keep();
        }
    }
}

impl TenantStore {
    /// The location of the object with this digest, whether or not it exists.
    #[must_use]
    pub fn location_of(&self, digest: Digest) -> Location {
        let (tenant, name) = (self.tenant, digest.to_hex());
        let (first, _) = name.split_at_checked(2).unwrap_or(("", ""));
        self.place
            .below(&format!("{OBJECTS}/{tenant}/{first}/{name}"))
    }

    /// Claim room for `bytes` more. Without a quota there is always room. Waits for the first count
    /// of what the tenant has, for at most [`super::COUNT_TIME_MAX`]. Cancel safe.
    ///
    /// # Errors
    /// When they exceed the quota, or what the tenant has cannot be counted.
    pub async fn reserve(&self, bytes: u64) -> Result<Reserved, WriteError> {
        Ok(Reserved(match &self.quotas {
            Some(quotas) => Some(quotas.claim(self.tenant, bytes).await?),
            None => None,
        }))
    }

    /// Store `data`. An object that exists already is not sent again. Cancel safe.
    ///
    /// # Errors
    /// When the store cannot be written to.
    pub async fn put(
        &self,
        data: Bytes,
        content_type: Option<&str>,
    ) -> Result<StoredRef, WriteError> {
        let (digest, size) = (Digest::of(&data), data.len() as u64);
        let location = self.location_of(digest);
        if !self.has(&location, size).await {
            let reserved = self.reserve(size).await?;
            self.objects.put(&location, data, content_type).await?;
            reserved.keep();
        }
        Ok(StoredRef {
            digest,
            size,
            location,
        })
    }

    /// Start writing an object as a stream.
    #[must_use]
    pub fn create(&self, content_type: Option<&str>) -> Writer {
        Writer {
            store: self.clone(),
            content_type: content_type.map(ToOwned::to_owned),
            digest: id::DigestBuilder::default(),
            size: 0,
            small: BytesMut::new(),
            large: None,
        }
    }

    /// The bytes with this digest.
    ///
    /// # Errors
    /// When the object does not exist, is larger than `bytes_max` or damaged, or the store does not
    /// answer.
    pub async fn get(&self, digest: Digest, bytes_max: u64) -> Result<Bytes, Error> {
        let location = self.location_of(digest);
        let Some(data) = self.objects.get_small(&location, bytes_max).await? else {
            let message = format!(
                "there is nothing at `{location}`; it was removed from the store, and a run \
                 without kept results makes it again"
            );
            return Err(Error::new(InputFault::Missing, message).advised(Advice::RunAgain));
        };
        if Digest::of(&data) == digest {
            Ok(data)
        } else {
            let message = format!(
                "`{location}` is damaged: its bytes do not match its name; remove it, and run \
                 again without kept results"
            );
            Err(Error::new(InputFault::Changed, message).advised(Advice::RunAgain))
        }
    }

    /// Whether the object is in this store, complete and under its proper name. False if the store
    /// does not answer. Cancel safe.
    pub async fn holds(&self, stored: &StoredRef) -> bool {
        let location = self.location_of(stored.digest);
        location == stored.location && self.has(&location, stored.size).await
    }

    /// Whether the complete object exists. False if the store does not answer; it is then written
    /// again, which is harmless.
    async fn has(&self, location: &Location, size: u64) -> bool {
        matches!(self.objects.size(location).await, Ok(Some(there)) if there == size)
    }
}

/// An object that is being written to a store. Dropping it abandons the object.
#[derive(Debug)]
pub struct Writer {
    store: TenantStore,
    content_type: Option<String>,
    digest: id::DigestBuilder,
    size: u64,
    /// The whole content, as long as it fits one part.
    small: BytesMut,
    large: Option<(Location, Upload)>,
}

impl Writer {
    /// Bytes written so far.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Append to the object. Waits while too many parts are being uploaded.
    ///
    /// Not cancel safe: drop the writer.
    ///
    /// # Errors
    /// When the store cannot be written to, or the object gets larger than [`STREAM_BYTES_MAX`].
    pub async fn write(&mut self, data: &[u8]) -> Result<(), WriteError> {
        self.size += data.len() as u64;
        if self.size > STREAM_BYTES_MAX {
            let limit = STREAM_BYTES_MAX >> 30;
            let message = format!(
                "an object in the store `{}` has at most {limit} GiB; write several",
                self.store.place
            );
            return Err(WriteError::new(WriteFault::TooLarge, message));
        }
        self.digest.update(data);
        if self.large.is_none() && self.small.len() + data.len() > PART_BYTES {
            let location = self
                .store
                .place
                .below(&format!("{INCOMING}/{}", random_name()?));
            let mut upload = self
                .store
                .objects
                .upload(&location, self.content_type.as_deref())?;
            upload.write(&self.small.split()).await?;
            self.large = Some((location, upload));
        }
        match &mut self.large {
            Some((_, upload)) => upload.write(data).await,
            None => {
                self.small.extend_from_slice(data);
                Ok(())
            }
        }
    }

    /// End the object. It is nowhere to be seen before it is published.
    ///
    /// # Errors
    /// When the store cannot be written to.
    pub async fn seal(self) -> Result<Sealed, WriteError> {
        let content = match self.large {
            None => Content::Small(self.small.freeze()),
            Some((incoming, mut upload)) => {
                upload.flush().await?;
                Content::Large(incoming, Box::new(upload))
            }
        };
        let digest = self.digest.finish();
        Ok(Sealed {
            stored: StoredRef {
                digest,
                size: self.size,
                location: self.store.location_of(digest),
            },
            store: self.store,
            content_type: self.content_type,
            content,
        })
    }
}

/// An object that is complete and not published. Dropping it abandons the object. It holds up to
/// [`PART_BYTES`] of memory.
#[derive(Debug)]
pub struct Sealed {
    store: TenantStore,
    content_type: Option<String>,
    stored: StoredRef,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Small(Bytes),
    /// All parts are at the store, for this incoming name.
    Large(Location, Box<Upload>),
}

impl Sealed {
    /// What the object is going to be.
    #[must_use]
    pub fn stored(&self) -> &StoredRef {
        &self.stored
    }

    /// Let the object appear under the name of its content.
    ///
    /// # Errors
    /// When the store cannot be written to.
    pub async fn publish(self) -> Result<StoredRef, WriteError> {
        let Self {
            store,
            content_type,
            stored,
            content,
        } = self;
        let (incoming, upload) = match content {
            Content::Small(data) => return store.put(data, content_type.as_deref()).await,
            Content::Large(incoming, upload) => (incoming, upload),
        };
        if store.has(&stored.location, stored.size).await {
            upload.abort().await;
        } else {
            let reserved = store.reserve(stored.size).await?;
            upload.finish().await?;
            store.objects.rename(&incoming, &stored.location).await?;
            reserved.keep();
        }
        Ok(stored)
    }
}

fn random_name() -> Result<String, WriteError> {
    let mut bytes = [0; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).map_err(
        |error| {
            let message = format!("failed to get random bytes: {error}");
            WriteError::new(WriteFault::Unavailable, message)
        },
    )?;
    Ok(format!("{:032x}", u128::from_le_bytes(bytes)))
}

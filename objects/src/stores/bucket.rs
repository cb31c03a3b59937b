//! A bucket: its objects by their keys, byte for byte.
//!
//! Objects are read, written and copied by `object_store`, under keys in disguise
//! ([`super::key`]). Listings and removals are requests of our own, because there the library puts
//! keys into bodies, and parses what it finds there.

use std::sync::Arc;

use futures::stream::{self, BoxStream, StreamExt as _};
use object_store::path::Path;
use object_store::{
    GetOptions, GetRange, GetResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt as _,
    PutMultipartOptions, PutOptions, PutPayload,
};
use sortie_protocol::VersionId;

use super::connector::Client;
use super::key::{Slashes, disguised, encoded};
use super::page::{Listed, Page};
use crate::Service;

/// The longest page of a listing: a thousand keys of a kilobyte, all of it encoded, and what else
/// is said of them.
const PAGE_BYTES_MAX: usize = 16 << 20;

/// A bucket that is open. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Bucket(Arc<Inner>);

struct Inner {
    service: Service,
    store: Box<dyn ObjectStore>,
    client: Arc<Client>,
    /// Its URL, without a slash at the end.
    url: String,
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // What lies below would print keys and signatures.
        f.write_str("Bucket")
    }
}

/// An object in a bucket.
#[derive(Debug, Clone)]
pub(crate) struct Keyed {
    pub(crate) bucket: Bucket,
    pub(crate) key: String,
}

impl Bucket {
    pub(crate) fn new(
        service: Service,
        store: impl ObjectStore,
        client: Arc<Client>,
        url: String,
    ) -> Self {
        Self(Arc::new(Inner {
            service,
            store: Box::new(store),
            client,
            url,
        }))
    }

    /// All objects whose keys begin with `prefix`, page by page, in the store's order. Ends with
    /// its first error. Dropping it ends the listing.
    pub(crate) fn list(&self, prefix: &str) -> BoxStream<'static, object_store::Result<Listed>> {
        let start = Some((self.clone(), None::<String>));
        let prefix = prefix.to_owned();
        stream::unfold(start, move |state| {
            let prefix = prefix.clone();
            async move {
                let (bucket, token) = state?;
                Some(match bucket.page(&prefix, token.as_deref()).await {
                    Ok(Page { entries, next }) => {
                        let entries = entries.into_iter().map(Ok).collect();
                        (entries, next.map(|next| (bucket, Some(next))))
                    }
                    Err(error) => (vec![Err(error)], None),
                })
            }
        })
        .flat_map(stream::iter::<Vec<_>>)
        .boxed()
    }

    async fn page(&self, prefix: &str, token: Option<&str>) -> object_store::Result<Page> {
        let Inner {
            service,
            client,
            url,
            ..
        } = &*self.0;
        let (kind, token_name) = match service {
            Service::S3 | Service::Gs => ("list-type=2", "continuation-token"),
            Service::Az => ("restype=container&comp=list", "marker"),
        };
        let mut url = format!("{url}?{kind}");
        for (name, value) in [("prefix", Some(prefix)), (token_name, token)] {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                let value = encoded(value.as_bytes(), Slashes::Encoded);
                url.push_str(&format!("&{name}={value}"));
            }
        }
        let unreadable = |source| object_store::Error::Generic {
            store: "listing",
            source,
        };
        let body = client.ask("GET", &url, PAGE_BYTES_MAX).await?;
        let page = Page::parse(&body).map_err(|error| unreadable(error.into()))?;
        if page.next.is_some() && page.next.as_deref() == token {
            return Err(unreadable("the store's listing does not go on".into()));
        }
        Ok(page)
    }
}

impl Keyed {
    fn path(&self) -> Path {
        disguised(&self.key)
    }

    /// What the store says of a version, the present one if none is named.
    pub(crate) async fn head(
        &self,
        version: Option<&VersionId>,
    ) -> object_store::Result<GetResult> {
        let options = GetOptions {
            head: true,
            ..options(version)
        };
        self.bucket.0.store.get_opts(&self.path(), options).await
    }

    /// A range of its bytes, without a condition.
    pub(crate) async fn first(
        &self,
        range: std::ops::Range<u64>,
        version: Option<&VersionId>,
    ) -> object_store::Result<GetResult> {
        let options = GetOptions {
            range: Some(GetRange::Bounded(range)),
            ..options(version)
        };
        self.bucket.0.store.get_opts(&self.path(), options).await
    }

    pub(crate) async fn get(&self, options: GetOptions) -> object_store::Result<GetResult> {
        self.bucket.0.store.get_opts(&self.path(), options).await
    }

    pub(crate) async fn meta(&self) -> object_store::Result<ObjectMeta> {
        self.bucket.0.store.head(&self.path()).await
    }

    pub(crate) async fn put(
        &self,
        data: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<()> {
        let path = self.path();
        let putting = self.bucket.0.store.put_opts(&path, data, options);
        putting.await.map(drop)
    }

    pub(crate) async fn upload(
        &self,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        let path = self.path();
        self.bucket.0.store.put_multipart_opts(&path, options).await
    }

    /// Put a copy of it at another key.
    pub(crate) async fn copy(&self, to: &Self) -> object_store::Result<()> {
        self.bucket.0.store.copy(&self.path(), &to.path()).await
    }

    pub(crate) async fn remove(&self) -> object_store::Result<()> {
        let Inner {
            service,
            client,
            url,
            ..
        } = &*self.bucket.0;
        let key = encoded(self.key.as_bytes(), Slashes::of(*service));
        let url = format!("{url}/{key}");
        client.ask("DELETE", &url, PAGE_BYTES_MAX).await.map(drop)
    }
}

/// The options that say which version is meant.
pub(crate) fn options(version: Option<&VersionId>) -> GetOptions {
    GetOptions {
        version: version.map(|version| version.as_str().to_owned()),
        ..GetOptions::default()
    }
}

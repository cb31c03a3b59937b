//! The output store: content-addressed objects in a folder or bucket that the operator has
//! configured.
//!
//! Each tenant has a part of its own ([`TenantStore`]). An object is at
//! `objects/<tenant>/<first two digits>/<digest>` below the store's location; the digest is the
//! SHA-256 of its bytes. So equal bytes of a tenant are stored once, and a reader checks the digest
//! and notices a changed object. An object that is too large for memory is first written under
//! `incoming/` and renamed when it is complete. Results that the memo shares are under
//! `memo/<tenant>/`.
//!
//! Nothing is removed here. Files that killed processes left under `incoming/`, and objects that
//! nothing refers to any more, are removed by `sortie cache gc` or by the bucket's lifecycle rules.
//!
//! Bounds: those of [`crate::Upload`]; a streamed object has at most [`STREAM_BYTES_MAX`]; what a
//! tenant has in the store, if the operator set a [quota](OutputStore::with_quota).

mod layout;
mod quota;
mod tenant_store;

use std::path::Path;
use std::sync::Arc;

use sortie_protocol::{ByteSize, TenantId};

pub use self::layout::{INCOMING, MEMO, OBJECTS, STREAM_BYTES_MAX};
use self::quota::Quotas;
pub use self::quota::{COUNT_TIME_MAX, RECOUNT_TIME};
pub use self::tenant_store::{Reserved, Sealed, TenantStore, Writer};
use crate::{Location, Malformed, Objects};

/// A content-addressed store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct OutputStore {
    objects: Objects,
    place: Arc<Location>,
    quotas: Option<Arc<Quotas>>,
}

/// Parse a store's location: a path, relative to `folder`, or a URL, which may name a whole bucket.
///
/// # Errors
/// When it is neither, or on a web server.
pub fn parse(text: &str, folder: &Path) -> Result<Location, Malformed> {
    let location = Location::parse_place(text, folder)?;
    match location {
        Location::Http(_) => Err(Malformed::Syntax {
            shown: location.to_string(),
            reason: "a store is a folder or in an object store, not on a web server",
        }),
        location => Ok(location),
    }
}

impl OutputStore {
    /// The store at `place`, which need not exist yet.
    #[must_use]
    pub fn new(objects: Objects, place: Location) -> Self {
        Self {
            objects,
            place: Arc::new(place),
            quotas: None,
        }
    }

    /// The same, where a tenant's objects and shared results may have `bytes_max` together.
    ///
    /// What a tenant has is counted by listing it, anew once it is [`RECOUNT_TIME`] old and
    /// something is to be written; in between, what this process writes is added. So what was
    /// removed makes room, and several processes may together exceed the quota by what they write
    /// between two counts.
    #[must_use]
    pub fn with_quota(self, bytes_max: ByteSize) -> Self {
        let quotas = Quotas::new(self.objects.clone(), self.place.clone(), bytes_max);
        Self {
            quotas: Some(Arc::new(quotas)),
            ..self
        }
    }

    /// Its location.
    #[must_use]
    pub fn place(&self) -> &Location {
        &self.place
    }

    /// The [`Objects`] that it reads and writes with.
    #[must_use]
    pub fn objects(&self) -> &Objects {
        &self.objects
    }

    /// The part that belongs to `tenant`.
    #[must_use]
    pub fn of(&self, tenant: TenantId) -> TenantStore {
        TenantStore {
            objects: self.objects.clone(),
            place: self.place.clone(),
            quotas: self.quotas.clone(),
            tenant,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use sortie_protocol::Digest;
    use sortie_protocol::outcome::InputFault;
    use tokio::runtime::Handle;

    use super::*;
    use crate::{PART_BYTES, WriteFault};

    fn whole_store(folder: &Path) -> OutputStore {
        OutputStore::new(
            Objects::new(crate::Config::default(), Handle::current()),
            parse("the store", folder).unwrap(),
        )
    }

    fn store(folder: &Path) -> TenantStore {
        whole_store(folder).of(TenantId::default())
    }

    fn tenant(name: &str) -> TenantId {
        name.parse().unwrap()
    }

    fn files(folder: &Path) -> Vec<String> {
        let mut found: Vec<String> = glob::glob(&format!("{}/**/*", folder.display()))
            .unwrap()
            .map(Result::unwrap)
            .filter(|path| path.is_file())
            .map(|path| path.strip_prefix(folder).unwrap().display().to_string())
            .collect();
        found.sort();
        found
    }

    #[tokio::test]
    async fn the_same_bytes_are_kept_once_under_the_name_of_their_content() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        let first = store
            .put(Bytes::from_static(b"abc"), Some("text/plain"))
            .await
            .unwrap();
        let name = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!((first.digest.to_hex().as_str(), first.size), (name, 3));
        assert_eq!(
            files(folder.path()),
            [format!("the store/objects/default/ba/{name}")]
        );
        let path = folder
            .path()
            .join(format!("the store/objects/default/ba/{name}"));
        let written = std::fs::metadata(&path).unwrap().modified().unwrap();
        assert_eq!(
            store.put(Bytes::from_static(b"abc"), None).await.unwrap(),
            first
        );
        assert_eq!(
            std::fs::metadata(&path).unwrap().modified().unwrap(),
            written
        );
        assert_eq!(store.get(first.digest, 3).await.unwrap(), "abc");
        assert_eq!(
            store.get(first.digest, 2).await.unwrap_err().fault,
            InputFault::Unavailable
        );
        std::fs::write(&path, "abd").unwrap();
        assert_eq!(
            store.get(first.digest, 3).await.unwrap_err().fault,
            InputFault::Changed
        );
        // Cut short by something else than this program: written anew.
        std::fs::write(&path, "a").unwrap();
        store.put(Bytes::from_static(b"abc"), None).await.unwrap();
        assert_eq!(store.get(first.digest, 3).await.unwrap(), "abc");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(
            store.get(first.digest, 3).await.unwrap_err().fault,
            InputFault::Missing
        );
    }

    #[tokio::test]
    async fn a_tenant_stores_as_much_as_its_quota() {
        let folder = tempfile::tempdir().unwrap();
        let there = "the store/memo/default/ab";
        std::fs::create_dir_all(folder.path().join(there)).unwrap();
        std::fs::write(folder.path().join(there).join("cd"), "12345").unwrap();
        let quota = ByteSize(5 + 2 * 9);
        let store = whole_store(folder.path()).with_quota(quota);
        let (default, other) = (store.of(TenantId::default()), store.of(tenant("other")));
        let put = async |to: &TenantStore, text: &'static str| {
            to.put(Bytes::from_static(text.as_bytes()), None).await
        };
        put(&default, "nine, one").await.unwrap();
        // What is not written takes no room, and neither does what is there already.
        drop(default.reserve(9).await.unwrap());
        put(&default, "nine, one").await.unwrap();
        let reserved = default.reserve(9).await.unwrap();
        let refused = put(&default, "nine, two").await.unwrap_err();
        assert_eq!(refused.fault, WriteFault::Quota, "{refused}");
        assert!(
            refused.message.contains("`default`, who has 23 B of 23 B"),
            "{refused}"
        );
        drop(reserved);
        put(&default, "nine, two").await.unwrap();
        let mut writer = default.create(None);
        writer.write(b"more").await.unwrap();
        let more = writer.seal().await.unwrap();
        assert_eq!(more.publish().await.unwrap_err().fault, WriteFault::Quota);
        put(&other, "nine, two").await.unwrap();
        // Another process finds what is there.
        let again = whole_store(folder.path()).with_quota(quota);
        let again = again.of(TenantId::default());
        let refused = put(&again, "more").await.unwrap_err();
        assert_eq!(refused.fault, WriteFault::Quota, "{refused}");
    }

    #[tokio::test]
    async fn what_is_streamed_gets_the_same_name_as_what_is_put_whole() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(folder.path());
        for size in [0, 10, PART_BYTES, 3 * PART_BYTES + 7] {
            let data: Vec<u8> = (0..size).map(|n| u8::try_from(n % 251).unwrap()).collect();
            let mut writer = store.create(None);
            for chunk in data.chunks(1_000_003) {
                writer.write(chunk).await.unwrap();
            }
            let sealed = writer.seal().await.unwrap();
            assert!(!store.holds(sealed.stored()).await);
            let streamed = sealed.publish().await.unwrap();
            assert_eq!(
                (streamed.digest, streamed.size),
                (Digest::of(&data), size as u64)
            );
            assert_eq!(store.get(streamed.digest, 1 << 30).await.unwrap(), data);
            assert_eq!(store.put(data.into(), None).await.unwrap(), streamed);
        }
        assert!(
            files(folder.path())
                .iter()
                .all(|path| path.contains("/objects/")),
            "{:?}",
            files(folder.path())
        );
    }

    #[test]
    fn a_place_is_a_folder_or_in_an_object_store() {
        let shown =
            |text: &str| parse(text, Path::new("/here")).map(|location| location.to_string());
        assert_eq!(shown("s3://bucket").unwrap(), "s3://bucket/");
        assert_eq!(shown("s3://bucket/").unwrap(), "s3://bucket/");
        assert_eq!(shown("gs://bucket/").unwrap(), "gs://bucket/");
        assert_eq!(shown("az://container").unwrap(), "az://container/");
        assert!(shown("az://b").unwrap_err().to_string().contains("3 to 63"));
        assert_eq!(shown("s3://bucket/a/b/").unwrap(), "s3://bucket/a/b/");
        assert_eq!(shown("results").unwrap(), "file:///here/results");
        assert!(
            shown("https://example.org/store")
                .unwrap_err()
                .to_string()
                .contains("web server")
        );
        assert!(shown("s3://").is_err() && shown("").is_err());
        let below = |text: &str| {
            parse(text, Path::new("/here"))
                .unwrap()
                .below("objects/x")
                .to_string()
        };
        assert_eq!(below("s3://bucket"), "s3://bucket/objects/x");
        assert_eq!(below("s3://bucket/a/"), "s3://bucket/a/objects/x");
        assert_eq!(below("r s#1?"), "file:///here/r s#1?/objects/x");
    }
}

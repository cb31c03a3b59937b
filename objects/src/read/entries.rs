//! What lies below a place: a listing of everything, for prefixes and for what is kept in stores.
//!
//! Bounds: a page of a store's listing, and [`ENTRIES_AHEAD_MAX`] that wait to be taken.

use std::path::Path;

use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use sortie_protocol::Timestamp;
use sortie_protocol::outcome::InputFault;
use tokio::sync::mpsc;

use crate::background::{AbortOnDrop, ended};
use crate::dir::is_temporary;
use crate::objects::Objects;
use crate::shown::shown;
use crate::stores::bucket::Bucket;
use crate::stores::page::Listed;
use crate::{Error, Files, Location};

/// Entries of a listing that wait to be taken; then the listing waits.
const ENTRIES_AHEAD_MAX: usize = 1000;

/// What a listing knows of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its path below the place that was listed.
    pub path: String,
    /// Its size in bytes.
    pub size: u64,
    /// When it was written.
    pub modified: Timestamp,
}

impl Objects {
    /// All objects below `location`, in no order, as the store names them. At most a thousand are
    /// held; dropping the stream ends the listing. A folder that is not there has none. What only
    /// stands for a folder, or is not written to its end yet, is left out.
    ///
    /// # Errors
    /// When `location` cannot be listed; in the stream, when the listing breaks off, after which
    /// nothing comes.
    pub fn list_below(
        &self,
        location: &Location,
    ) -> Result<BoxStream<'static, Result<Entry, Error>>, Error> {
        match location {
            Location::File(folder) => {
                let unfinished = |entry: &Entry| is_temporary(Path::new(&entry.path));
                // Where a store is, the operator said.
                let entries = self.walk(folder.clone(), folder.clone(), Files::Everywhere);
                Ok(entries
                    .try_filter(move |entry| std::future::ready(!unfinished(entry)))
                    .boxed())
            }
            Location::Bucket { key, .. } => {
                let bucket = self.shared.stores.bucket(location)?;
                let slash = if key.is_empty() || key.ends_with('/') {
                    ""
                } else {
                    "/"
                };
                let (prefix, shown) = (format!("{key}{slash}"), shown(location));
                let listed = self.listed(&bucket, &prefix, shown);
                let below = move |entry: Listed| {
                    let path = entry.key.strip_prefix(&prefix)?.to_owned();
                    (!path.is_empty() && !entry.is_folder_marker()).then_some(Entry {
                        path,
                        size: entry.size,
                        modified: entry.modified,
                    })
                };
                Ok(listed
                    .try_filter_map(move |entry| std::future::ready(Ok(below(entry))))
                    .boxed())
            }
            Location::Http(_) => Err(Error::new(
                InputFault::Malformed,
                format!(
                    "`{}` is on a web server, which cannot be listed",
                    shown(location)
                ),
            )),
        }
    }

    /// What is in a bucket under keys that begin with `prefix`, listed on the I/O runtime. A few
    /// pages are held.
    pub(crate) fn listed(
        &self,
        bucket: &Bucket,
        prefix: &str,
        shown: String,
    ) -> BoxStream<'static, Result<Listed, Error>> {
        let (sender, receiver) = mpsc::channel(ENTRIES_AHEAD_MAX);
        let mut listed = bucket.list(prefix);
        let listing = AbortOnDrop(self.shared.io.spawn(async move {
            while let Some(entry) = listed.next().await {
                let entry = entry.map_err(|error| Error::from_store(&shown, &error));
                if sender.send(entry).await.is_err() {
                    return;
                }
            }
        }));
        futures::stream::unfold(Some((receiver, listing)), |listing| async move {
            let (mut receiver, mut listing) = listing?;
            match receiver.recv().await {
                Some(entry) => Some((entry, Some((receiver, listing)))),
                // One that did not come to its end is not taken for one that did.
                None => (&mut listing.0).await.err().map(|error| {
                    (
                        Err(Error::new(InputFault::Unavailable, ended(&error))),
                        None,
                    )
                }),
            }
        })
        .boxed()
    }
}

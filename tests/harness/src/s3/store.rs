//! Files as objects: what `s3s_fs` does, except that reading is cheap and conditions are kept.
//!
//! `s3s_fs` answers a read in pieces of 4 KiB, sums up the whole file for the etag of each answer,
//! lists without etags, and does not look at `If-Match`. A benchmark beside it would measure the
//! server, and a reader that relies on conditions could not be tested. So reads, heads and listings
//! are answered here. An etag is still what `s3s_fs` says, once for each version of a file, unless
//! to sum it up would take a minute ([`SUMMED_BYTES_MAX`]). It also begins uploads into buckets
//! that are not there, which is refused here.

use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use async_trait::async_trait;
use bytes::Bytes;
use hyper::{Method, Uri};
use s3s::dto::*;
use s3s::{S3, S3Request, S3Response, S3Result, s3_error};
use s3s_fs::FileSystem;

/// What is read and sent at once: large against the cost of a frame, small against the memory of a
/// machine with many connections.
const FRAME_BYTES: u64 = 256 << 10;
/// The largest file whose bytes are summed up for its etag; that of a larger one follows from its
/// [`Stamp`].
const SUMMED_BYTES_MAX: u64 = 1 << 30;
/// How often a file may be replaced while it is looked at before that is an error.
const LOOKS_MAX: usize = 10;

/// Buckets in a folder.
#[derive(Debug)]
pub(super) struct Store {
    files: FileSystem,
    folder: PathBuf,
    /// What is known of each file, by bucket and key. As many as there are objects in a test's
    /// folder.
    known: Mutex<HashMap<(String, String), (Stamp, HeadObjectOutput)>>,
}

/// What tells two versions of a file apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            inode: metadata.ino(),
            size: metadata.len(),
            modified: metadata.modified().ok(),
        }
    }

    /// What is said of a file that is too large to be summed up.
    fn output(self) -> HeadObjectOutput {
        let modified = self.modified.unwrap_or(SystemTime::UNIX_EPOCH);
        let since = modified.duration_since(SystemTime::UNIX_EPOCH);
        let nanos = since.unwrap_or_default().as_nanos();
        HeadObjectOutput {
            content_length: i64::try_from(self.size).ok(),
            e_tag: Some(ETag::Strong(format!("{:x}-{nanos:x}", self.inode))),
            last_modified: Some(Timestamp::from(modified)),
            ..HeadObjectOutput::default()
        }
    }
}

/// The conditions of a request.
struct Conditions {
    matches: Option<ETagCondition>,
    matches_none: Option<ETagCondition>,
}

impl Conditions {
    fn check(&self, etag: Option<&ETag>) -> S3Result<()> {
        let is = |condition: &ETagCondition| match condition {
            ETagCondition::Any => true,
            ETagCondition::ETag(wanted) => etag.is_some_and(|etag| wanted.strong_cmp(etag)),
        };
        if self
            .matches
            .as_ref()
            .is_some_and(|condition| !is(condition))
        {
            return Err(s3_error!(PreconditionFailed));
        }
        if self.matches_none.as_ref().is_some_and(is) {
            return Err(s3_error!(NotModified));
        }
        Ok(())
    }
}

impl Store {
    pub(super) fn over(folder: &Path) -> Self {
        let files = FileSystem::new(folder).expect("a folder that can be served");
        Self {
            files,
            folder: folder.to_owned(),
            known: Mutex::default(),
        }
    }

    /// The file of an object, and what is known of this very version. No file if there is no such
    /// object: `s3s_fs` says what is missing.
    async fn open(&self, bucket: &str, key: &str) -> S3Result<(File, HeadObjectOutput)> {
        let path = self.folder.join(bucket).join(key);
        let inside = Path::new(bucket)
            .join(key)
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        for _ in 0..LOOKS_MAX {
            let found = File::open(&path).and_then(|file| {
                Ok((
                    Stamp::of(&file.metadata()?),
                    file.metadata()?.is_file(),
                    file,
                ))
            });
            let Ok((stamp, true, file)) = found else {
                self.ask(bucket, key).await?;
                return Err(s3_error!(NoSuchKey));
            };
            if !inside {
                return Err(s3_error!(NoSuchKey));
            }
            let place = (bucket.to_owned(), key.to_owned());
            let known = self
                .known
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .get(&place)
                .cloned();
            if let Some((_, output)) = known.filter(|(known, _)| *known == stamp) {
                return Ok((file, output));
            }
            if stamp.size > SUMMED_BYTES_MAX {
                return Ok((file, stamp.output()));
            }
            let output = self.ask(bucket, key).await?;
            // Only if it was not replaced meanwhile does the answer belong to the file that was
            // opened.
            if std::fs::metadata(&path).is_ok_and(|metadata| Stamp::of(&metadata) == stamp) {
                self.known
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(place, (stamp, output.clone()));
                return Ok((file, output));
            }
        }
        Err(s3_error!(OperationAborted))
    }

    /// What `s3s_fs` knows of an object.
    async fn ask(&self, bucket: &str, key: &str) -> S3Result<HeadObjectOutput> {
        let input = HeadObjectInput {
            bucket: bucket.to_owned(),
            key: key.to_owned(),
            ..HeadObjectInput::default()
        };
        Ok(self.files.head_object(request(input)).await?.output)
    }
}

/// A request that comes from here.
fn request<T>(input: T) -> S3Request<T> {
    S3Request {
        input,
        method: Method::HEAD,
        uri: Uri::default(),
        headers: hyper::HeaderMap::new(),
        extensions: hyper::http::Extensions::new(),
        credentials: None,
        region: None,
        service: None,
        trailing_headers: None,
    }
}

/// The bytes of a file, in frames. It is read where it is served, because what a test serves lies
/// in the system's cache.
fn body(file: File, range: Range<u64>) -> StreamingBlob {
    let file = Arc::new(file);
    let frames = range
        .clone()
        .step_by(FRAME_BYTES as usize)
        .map(move |start| {
            let end = range.end.min(start + FRAME_BYTES);
            let mut frame = vec![0; usize::try_from(end - start).map_err(io::Error::other)?];
            file.read_exact_at(&mut frame, start)?;
            Ok::<_, io::Error>(Bytes::from(frame))
        });
    StreamingBlob::wrap(futures::stream::iter(frames))
}

macro_rules! store {
    ($($name:ident: $input:ident -> $output:ident,)*) => {
        #[async_trait]
        impl S3 for Store {
            $(async fn $name(&self, request: S3Request<$input>) -> S3Result<S3Response<$output>> {
                self.files.$name(request).await
            })*

            async fn head_object(
                &self,
                request: S3Request<HeadObjectInput>,
            ) -> S3Result<S3Response<HeadObjectOutput>> {
                let HeadObjectInput { bucket, key, if_match, if_none_match, .. } = request.input;
                let (_, known) = self.open(&bucket, &key).await?;
                let conditions = Conditions { matches: if_match, matches_none: if_none_match };
                conditions.check(known.e_tag.as_ref())?;
                Ok(S3Response::new(known))
            }

            async fn get_object(
                &self,
                request: S3Request<GetObjectInput>,
            ) -> S3Result<S3Response<GetObjectOutput>> {
                let GetObjectInput { bucket, key, if_match, if_none_match, range, .. } =
                    request.input;
                let (file, known) = self.open(&bucket, &key).await?;
                let conditions = Conditions { matches: if_match, matches_none: if_none_match };
                conditions.check(known.e_tag.as_ref())?;
                let size = known.content_length.unwrap_or_default();
                let size = u64::try_from(size).unwrap_or_default();
                let part = range.as_ref().map(|range| range.check(size)).transpose()?;
                let content_range = part.as_ref().map(|part| {
                    format!("bytes {}-{}/{size}", part.start, part.end - 1)
                });
                let part = part.unwrap_or(0..size);
                Ok(S3Response::new(GetObjectOutput {
                    content_length: i64::try_from(part.end - part.start).ok(),
                    content_range,
                    body: Some(body(file, part)),
                    cache_control: known.cache_control,
                    content_disposition: known.content_disposition,
                    content_encoding: known.content_encoding,
                    content_language: known.content_language,
                    content_type: known.content_type,
                    e_tag: known.e_tag,
                    expires: known.expires,
                    last_modified: known.last_modified,
                    metadata: known.metadata,
                    ..GetObjectOutput::default()
                }))
            }

            async fn create_multipart_upload(
                &self,
                request: S3Request<CreateMultipartUploadInput>,
            ) -> S3Result<S3Response<CreateMultipartUploadOutput>> {
                if !self.folder.join(&request.input.bucket).is_dir() {
                    return Err(s3_error!(NoSuchBucket));
                }
                self.files.create_multipart_upload(request).await
            }

            async fn list_objects_v2(
                &self,
                request: S3Request<ListObjectsV2Input>,
            ) -> S3Result<S3Response<ListObjectsV2Output>> {
                let bucket = request.input.bucket.clone();
                let mut response = self.files.list_objects_v2(request).await?;
                for object in response.output.contents.iter_mut().flatten() {
                    // One that was deleted meanwhile is listed as it was found.
                    let key = object.key.as_deref().unwrap_or_default();
                    if let Ok((_, known)) = self.open(&bucket, key).await {
                        object.e_tag = known.e_tag;
                    }
                }
                Ok(response)
            }
        }
    };
}

store! {
    create_bucket: CreateBucketInput -> CreateBucketOutput,
    delete_bucket: DeleteBucketInput -> DeleteBucketOutput,
    head_bucket: HeadBucketInput -> HeadBucketOutput,
    list_buckets: ListBucketsInput -> ListBucketsOutput,
    get_bucket_location: GetBucketLocationInput -> GetBucketLocationOutput,
    put_object: PutObjectInput -> PutObjectOutput,
    copy_object: CopyObjectInput -> CopyObjectOutput,
    delete_object: DeleteObjectInput -> DeleteObjectOutput,
    delete_objects: DeleteObjectsInput -> DeleteObjectsOutput,
    upload_part: UploadPartInput -> UploadPartOutput,
    upload_part_copy: UploadPartCopyInput -> UploadPartCopyOutput,
    list_parts: ListPartsInput -> ListPartsOutput,
    complete_multipart_upload: CompleteMultipartUploadInput -> CompleteMultipartUploadOutput,
    abort_multipart_upload: AbortMultipartUploadInput -> AbortMultipartUploadOutput,
}

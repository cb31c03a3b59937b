//! Objects that functions made, and values in a store, as a program sees them.

use sortie::protocol::job::Memo;
use sortie::{Client, Function, Output, TaskError, prefix, value};
use tempfile::TempDir;

use crate::{function, in_time};

/// A client whose store is in a folder of its own.
fn client() -> (Client, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    (
        Client::builder().cache(folder.path()).start().unwrap(),
        folder,
    )
}

async fn large<T>(client: &Client) -> Function<T> {
    function::<T>(client, "returns_bytes").await.memo(Memo::Off)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_a_function_made_is_a_handle_to_read_it() {
    let (client, folder) = client();
    let makes: Function<Output> = function(&client, "makes_object").await;
    let made = in_time(
        client
            .submit(&makes, [value(100_000), value("text/plain")])
            .await
            .unwrap(),
    )
    .await
    .unwrap();
    assert_eq!(
        (made.size(), made.content_type()),
        (100_000, Some("text/plain"))
    );
    assert!(made.url().starts_with("file://") && made.url().ends_with(&made.digest().to_hex()));
    assert_eq!(
        client.read(&made, 100_000).await.unwrap(),
        vec![0x5a; 100_000]
    );
    assert!(
        client
            .read(&made, 99_999)
            .await
            .unwrap_err()
            .message
            .contains("at most 99999")
    );
    let object = client.open(&made).await.unwrap();
    assert_eq!(object.read(99_998..200_000).await.unwrap(), [0x5a; 2][..]);
    // Whatever is in a value, it is no object; and the reverse.
    let echo: Function<Output> = function(&client, "echo").await;
    let forged = in_time(
        client
            .submit(&echo, value("file:///etc/passwd"))
            .await
            .unwrap(),
    )
    .await;
    assert!(
        matches!(&forged, Err(TaskError::Decode { .. })),
        "{forged:?}"
    );
    let text: Function<String> = function(&client, "makes_object").await;
    let undecoded = in_time(client.submit(&text, [value(1), value(())]).await.unwrap()).await;
    assert!(
        undecoded
            .unwrap_err()
            .to_string()
            .contains("decode it as `sortie::Output`")
    );
    std::fs::write(made.url().strip_prefix("file://").unwrap(), "damaged").unwrap();
    assert!(
        client
            .read(&made, 100_000)
            .await
            .unwrap_err()
            .message
            .contains("do not match")
    );
    drop(folder);
}

#[tokio::test(flavor = "multi_thread")]
async fn large_values_come_out_as_they_went_in() {
    let (client, folder) = client();
    let echo: Function<String> = function(&client, "echo").await;
    let text = "x".repeat(1 << 20);
    assert_eq!(
        in_time(client.submit(&echo, value(&text)).await.unwrap()).await,
        Ok(text.clone())
    );
    let stored = std::fs::read_dir(folder.path().join("store/objects/default"))
        .unwrap()
        .count();
    assert_eq!(stored, 1, "argument and result are the same bytes");
    let texts: Vec<String> = (0..5).map(|n| n.to_string().repeat(300_000)).collect();
    let outcomes = in_time(
        client
            .map(&echo, texts.clone().into_iter().map(value))
            .gather(),
    )
    .await
    .unwrap();
    assert!(
        outcomes
            .into_iter()
            .map(|outcome| outcome.result.unwrap())
            .eq(texts)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stored_value_that_is_gone_is_one_clear_error() {
    let (client, folder) = client();
    let returns = large::<serde_json::Value>(&client).await;
    let mut job = client.map(&returns, [value(300_000), value(10)]);
    let first = in_time(job.next_outcome()).await.unwrap();
    let second = in_time(job.next_outcome()).await.unwrap();
    std::fs::remove_dir_all(folder.path().join("store")).unwrap();
    let (large, small) = if first.index == 0 {
        (first, second)
    } else {
        (second, first)
    };
    assert_eq!(client.fetched(small.clone()).await, small);
    let gone = client.fetched(large).await;
    let sortie::Ending::Failed(failure) = &gone.ending else {
        panic!("{gone:?}")
    };
    assert_eq!(failure.code(), "result-lost");
    assert!(
        failure
            .to_string()
            .starts_with("the result cannot be fetched: there is nothing at `file://"),
        "{failure}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prefix_that_is_none_is_refused_before_anything_is_queued() {
    let (client, _folder) = client();
    let counts: Function<(u64, u64)> = function(&client, "counts_below").await;
    for (argument, words) in [
        (
            prefix("s3://bucket/array.zarr"),
            "`s3://bucket/array.zarr` is not a prefix",
        ),
        (
            prefix("https://host/a?signature=secret"),
            "`https://host/a` is not a prefix",
        ),
        (value(1), "takes a prefix, but got an ordinary value"),
    ] {
        let error = client
            .submit(&counts, argument)
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains(words), "{error}");
    }
}

//! Tests against servers that send a list of scripted answers, one connection after another. A
//! whole service is tested end to end.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::*;

/// A service that gives these answers, each once, and its URL.
async fn service(answers: Vec<String>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    url
}

fn says(status: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn keys(id: &str, expiration: &str) -> String {
    says(
        "200 OK",
        &format!(
            "{{\"AccessKeyId\": \"{id}\", \"SecretAccessKey\": \"hidden\", \"Token\": \"t\", \
             \"Expiration\": \"{expiration}\"}}"
        ),
    )
}

/// The access key id that a machine's service leads to.
async fn machine_id(answers: Vec<String>) -> Result<String, Trouble> {
    let keeper = Keeper::new(Amazon::machine(Some(&service(answers).await)).unwrap());
    keeper.get().await.map(|keys| keys.key_id.clone())
}

async fn agent_id(answers: Vec<String>) -> Result<String, Trouble> {
    let keeper = Keeper::new(Amazon::agent(&service(answers).await, None).unwrap());
    keeper.get().await.map(|keys| keys.key_id.clone())
}

fn answers<const N: usize>(answers: [String; N]) -> Vec<String> {
    answers.into()
}

#[tokio::test]
async fn a_machine_with_a_role_has_keys_and_one_without_is_nobody() {
    let (token, role) = (says("200 OK", "token"), says("200 OK", "role\n"));
    let missing = says("404 Not Found", "");
    let good = answers([
        token.clone(),
        role.clone(),
        keys("AKID", "2099-01-01T00:00:00Z"),
    ]);
    assert_eq!(machine_id(good).await.as_deref(), Ok("AKID"));
    assert_eq!(
        machine_id(answers([token.clone(), missing.clone()]))
            .await
            .as_deref(),
        Ok(NOBODY)
    );
    assert_eq!(
        machine_id(answers([token.clone(), says("200 OK", "")]))
            .await
            .as_deref(),
        Ok(NOBODY)
    );
    assert_eq!(
        machine_id(answers([missing.clone()])).await.as_deref(),
        Ok(NOBODY)
    );
    assert_eq!(
        machine_id(answers(["what?".into()])).await.as_deref(),
        Ok(NOBODY)
    );
    let refused = machine_id(answers([token.clone(), role.clone(), missing]))
        .await
        .unwrap_err();
    assert!(
        matches!(&refused, Trouble::Refused(text) if text.contains("404")),
        "{refused}"
    );
    let strange = machine_id(answers([
        token,
        role,
        says("200 OK", "{\"AccessKeyId\": \"hidden\"}"),
    ]))
    .await
    .unwrap_err();
    assert!(
        matches!(
            &strange,
            Trouble::Refused(text)
                if text.contains("no credentials") && !text.contains("hidden")
        ),
        "{strange}"
    );
}

#[tokio::test]
async fn a_service_that_does_not_answer_is_not_waited_for() {
    // Connections stay in the listener's backlog and are never accepted.
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let machine = || Keeper::new(Amazon::machine(Some(&url)).unwrap());
    assert_eq!(machine().get().await.unwrap().key_id, NOBODY);
    drop(listener);
    assert_eq!(machine().get().await.unwrap().key_id, NOBODY);
    // An agent was named, so it has to.
    let error = Keeper::new(Amazon::agent(&url, None).unwrap())
        .get()
        .await
        .unwrap_err();
    assert!(
        matches!(&error, Trouble::Silent(text) if text.contains(&url)),
        "{error}"
    );
    let google = Keeper::new(Google::machine(url.trim_start_matches("http://")).unwrap());
    assert_eq!(google.get().await.unwrap().bearer, NOBODY);
}

#[tokio::test]
async fn what_an_agent_answers_decides_whether_to_try_again() {
    assert_eq!(
        agent_id(answers([keys("AKID", "2099-01-01T00:00:00Z")]))
            .await
            .as_deref(),
        Ok("AKID")
    );
    let silent = |error: &Trouble| matches!(error, Trouble::Silent(_));
    assert!(!silent(
        &agent_id(answers([says("403 Forbidden", "")]))
            .await
            .unwrap_err()
    ));
    assert!(silent(
        &agent_id(answers([says("503 Busy", "")])).await.unwrap_err()
    ));
    assert!(silent(
        &agent_id(answers([keys("AKID", "2020-01-01T00:00:00Z")]))
            .await
            .unwrap_err()
    ));
    assert!(!silent(
        &agent_id(answers([keys("AKID", "tomorrow")]))
            .await
            .unwrap_err()
    ));
    let large = "x".repeat(ANSWER_BYTES_MAX + 1);
    assert!(!silent(
        &agent_id(answers([says("200 OK", &large)]))
            .await
            .unwrap_err()
    ));
}

#[tokio::test]
async fn what_was_given_is_asked_for_once() {
    // A second request would not be answered.
    let url = service(answers([keys("AKID", "2099-01-01T00:00:00Z")])).await;
    let keeper = Keeper::new(Amazon::agent(&url, None).unwrap());
    for _ in 0..3 {
        assert_eq!(keeper.get().await.unwrap().key_id, "AKID");
    }
}

/// Gives what a test put in last, once; then it is as it says.
struct Scripted(
    parking_lot::Mutex<Option<(&'static str, Duration)>>,
    Otherwise,
);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Otherwise {
    Troubled,
    Nobody,
}

fn scripted(given: Option<(&'static str, Duration)>, otherwise: Otherwise) -> Keeper<Scripted> {
    Keeper::new(Scripted(parking_lot::Mutex::new(given), otherwise))
}

#[async_trait]
impl Source for Scripted {
    type Credential = String;

    fn nobody() -> String {
        NOBODY.into()
    }

    async fn ask(&self) -> Result<Option<Given<String>>, Trouble> {
        match (self.0.lock().take(), self.1) {
            (Some((name, lasts)), _) => Ok(Some(Given {
                credential: name.into(),
                lasts: Some(lasts),
            })),
            (None, Otherwise::Nobody) => Ok(None),
            (None, Otherwise::Troubled) => Err(Trouble::Silent("nothing".into())),
        }
    }
}

#[tokio::test]
async fn credentials_are_renewed_and_used_to_their_end_where_that_fails() {
    let hour = Duration::from_secs(3600);
    for otherwise in [Otherwise::Troubled, Otherwise::Nobody] {
        let keeper = scripted(Some(("first", hour)), otherwise);
        let stale = async || {
            keeper.last.lock().await.kept.as_mut().unwrap().fresh_until = Some(clock::instant())
        };
        assert_eq!(*keeper.get().await.unwrap(), "first");
        *keeper.source.0.lock() = Some(("second", hour));
        assert_eq!(*keeper.get().await.unwrap(), "first");
        stale().await;
        assert_eq!(*keeper.get().await.unwrap(), "second");
        stale().await;
        assert_eq!(*keeper.get().await.unwrap(), "second");
        stale().await;
        keeper.last.lock().await.kept.as_mut().unwrap().valid_until = Some(clock::instant());
        let ended = keeper.get().await.map(|name| name.to_string()).ok();
        assert_eq!(
            ended.as_deref(),
            (otherwise == Otherwise::Nobody).then_some(NOBODY)
        );
    }
}

#[tokio::test]
async fn that_there_is_nothing_is_asked_once_for_all_who_wait() {
    let keeper = scripted(None, Otherwise::Troubled);
    assert!(keeper.get().await.is_err());
    *keeper.source.0.lock() = Some(("later", Duration::from_secs(3600)));
    assert!(keeper.get().await.is_err());
    keeper.last.lock().await.trouble.as_mut().unwrap().1 = clock::instant();
    assert_eq!(*keeper.get().await.unwrap(), "later");
}

#[test]
fn a_token_goes_over_plain_http_only_where_it_stays() {
    let agent = |url: &str| Amazon::agent(url, None).map(drop);
    for url in [
        "http://169.254.170.2/v2/x",
        "http://169.254.170.23/v1",
        "http://[fd00:ec2::23]/v1",
        "http://localhost:1/",
        "https://host/",
    ] {
        assert_eq!(agent(url), Ok(()), "{url}");
    }
    for url in [
        "http://169.254.169.254/",
        "http://host/",
        "http://127.0.0.1.host/",
        "ftp://127.0.0.1/",
        "no URL",
    ] {
        assert!(agent(url).is_err(), "{url}");
    }
}

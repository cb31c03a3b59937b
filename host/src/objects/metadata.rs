//! Whether a machine's metadata service is there and has credentials.
//!
//! Outside of its cloud the service's address answers nobody, and asking for credentials in earnest would hold up the first read for as long as
//! retries take. So it is asked in passing first, with one bound for everything: [`METADATA_TIME_MAX`]. Plain HTTP without a client: proxies do
//! not apply to the address.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::{Host, Url};

/// How long a metadata service may take to show that it is there: it is on the same machine, and Amazon's own clients give it as long. When it
/// takes longer, requests are not signed.
pub const METADATA_TIME_MAX: Duration = Duration::from_secs(1);
/// The longest answer that is read: tokens and names of roles take some hundred bytes.
const ANSWER_BYTES_MAX: u64 = 16 << 10;
/// Where Amazon's machines have it.
const AMAZON: &str = "http://169.254.169.254";

/// Whether the metadata service of an Amazon machine is there and names a role.
pub(super) async fn amazon_has_role(endpoint: Option<&str>) -> bool {
    let asking = async {
        let endpoint = Url::parse(endpoint.unwrap_or(AMAZON)).ok()?;
        let token = ask(&endpoint, "PUT", "latest/api/token", "X-aws-ec2-metadata-token-ttl-seconds: 60").await?;
        if token.contains(['\r', '\n']) {
            return None;
        }
        let header = format!("X-aws-ec2-metadata-token: {token}");
        ask(&endpoint, "GET", "latest/meta-data/iam/security-credentials/", &header).await.filter(|role| !role.trim().is_empty())
    };
    matches!(timeout(METADATA_TIME_MAX, asking).await, Ok(Some(_)))
}

/// Whether the metadata service of a Google machine is there and has a service account.
pub(super) async fn google_has_account(host: &str) -> bool {
    let asking = async {
        let endpoint = Url::parse(&format!("http://{host}")).ok()?;
        ask(&endpoint, "GET", "computeMetadata/v1/instance/service-accounts/default/email", "Metadata-Flavor: Google").await
    };
    matches!(timeout(METADATA_TIME_MAX, asking).await, Ok(Some(_)))
}

/// The body of the answer, if there is one and it is `200 OK`.
async fn ask(endpoint: &Url, method: &str, path: &str, header: &str) -> Option<String> {
    let (host, port) = (endpoint.host()?, endpoint.port().unwrap_or(80));
    let mut stream = match host {
        Host::Domain(name) => TcpStream::connect((name, port)).await,
        Host::Ipv4(address) => TcpStream::connect((address, port)).await,
        Host::Ipv6(address) => TcpStream::connect((address, port)).await,
    }
    .ok()?;
    let base = endpoint.path().trim_end_matches('/');
    let authority = endpoint.authority();
    let request =
        format!("{method} {base}/{path} HTTP/1.1\r\nHost: {authority}\r\n{header}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = Vec::new();
    let mut stream = stream.take(ANSWER_BYTES_MAX);
    // Until the end, or until all is there: not everybody hangs up when asked to.
    while whole(&answer).is_none() && stream.read_buf(&mut answer).await.ok()? > 0 {}
    let answer = String::from_utf8(answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.strip_prefix("HTTP/1.")?.split(' ').nth(1)?;
    (status == "200").then(|| body.to_owned())
}

/// Whether an answer that says its length is all there.
fn whole(answer: &[u8]) -> Option<()> {
    let (head, body) = std::str::from_utf8(answer).ok()?.split_once("\r\n\r\n")?;
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    })?;
    (body.len() >= length).then_some(())
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A service with one answer to everything, once.
    async fn service(answers: &'static [&'static str]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        address.to_string()
    }

    #[tokio::test]
    async fn only_a_service_that_names_a_role_counts() {
        let has_role = async |answers| amazon_has_role(Some(&format!("http://{}", service(answers).await))).await;
        assert!(has_role(&["HTTP/1.1 200 OK\r\n\r\ntoken", "HTTP/1.1 200 OK\r\n\r\nrole"]).await);
        assert!(!has_role(&["HTTP/1.1 200 OK\r\n\r\ntoken", "HTTP/1.1 404 Not Found\r\n\r\n"]).await);
        assert!(!has_role(&["HTTP/1.1 200 OK\r\n\r\ntoken", "HTTP/1.1 200 OK\r\n\r\n"]).await);
        assert!(!has_role(&["HTTP/1.1 403 Forbidden\r\n\r\n"]).await);
        assert!(!has_role(&["what?"]).await);
        assert!(!amazon_has_role(Some("no URL")).await);
        assert!(google_has_account(&service(&["HTTP/1.0 200 OK\r\n\r\nme@project"]).await).await);
        assert!(!google_has_account(&service(&["HTTP/1.0 302 Found\r\n\r\n"]).await).await);
    }

    #[tokio::test]
    async fn a_service_that_does_not_answer_is_not_waited_for() {
        // Connections wait in the listener's queue, and nobody takes them.
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        assert!(!amazon_has_role(Some(&endpoint)).await);
        drop(listener);
        assert!(!amazon_has_role(Some(&endpoint)).await);
    }
}

//! A server on loopback that answers as a test tells it: what no real store says on request.

use super::S3Vault;
use crate::place::{BucketStyle, Http, S3Place, Secret};
use crate::retry::Patience;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Ends with its test's runtime.
pub(crate) struct FakeStore {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl FakeStore {
    /// `answer` is given method and address, such as `GET /b/key`, and gives status and body.
    pub(crate) async fn start(answer: impl Fn(&str) -> (u16, String) + Send + Sync + 'static) -> FakeStore {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (answer, noted) = (Arc::new(answer), Arc::clone(&asked));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&answer), Arc::clone(&noted)));
            }
        });
        FakeStore { address, asked }
    }

    /// Bucket `b` of this store, where nothing is tried twice.
    pub(crate) fn open(&self) -> Arc<S3Vault> {
        self.open_for(1)
    }

    /// As [`FakeStore::open`], where everything is tried `attempts` times, without pauses worth the name.
    pub(crate) fn open_for(&self, attempts: u32) -> Arc<S3Vault> {
        let place = S3Place {
            endpoint: format!("http://{}", self.address),
            region: "r".to_owned(),
            bucket: "b".to_owned(),
            prefix: String::new(),
            access_key: "a".to_owned(),
            secret_key: Secret::new("s"),
            bucket_style: BucketStyle::Path,
            http: Http::Allow,
            cluster_id: "c".to_owned(),
            former_clusters: Vec::new(),
        };
        let patience = Patience {
            attempts,
            first_pause: Duration::from_millis(1),
            longest_pause: Duration::from_millis(1),
        };
        Arc::new(S3Vault::open(place, patience).expect("opened"))
    }

    /// Requests so far, sorted: those of one call come in any order.
    pub(crate) fn asked(&self) -> Vec<String> {
        let mut asked = self.asked.lock().expect("not poisoned").clone();
        asked.sort();
        asked
    }
}

/// One request, one answer, one connection.
async fn serve<F: Fn(&str) -> (u16, String)>(mut stream: TcpStream, answer: Arc<F>, asked: Arc<Mutex<Vec<String>>>) {
    let Some(request) = read_request(&mut stream).await else { return };
    asked.lock().expect("not poisoned").push(request.clone());
    let (status, body) = answer(&request);
    let head = format!(
        "HTTP/1.1 {status} Fake\r\netag: \"e\"\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    let body = if request.starts_with("HEAD ") { "" } else { body.as_str() };
    // Who has read enough hangs up.
    for text in [head.as_str(), body] {
        if stream.write_all(text.as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn read_request(stream: &mut TcpStream) -> Option<String> {
    let mut received: Vec<u8> = Vec::new();
    let head_bytes = loop {
        if let Some(end) = received.windows(4).position(|four| four == b"\r\n\r\n") {
            break end + 4;
        }
        if stream.read_buf(&mut received).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&received[..head_bytes]).into_owned();
    let length = |line: &str| {
        let (name, value) = line.split_once(':')?;
        let is_length = name.eq_ignore_ascii_case("content-length");
        is_length.then(|| value.trim().parse::<usize>().expect("a number"))
    };
    let body_bytes = head.lines().find_map(length).unwrap_or(0);
    while received.len() < head_bytes + body_bytes {
        if stream.read_buf(&mut received).await.ok()? == 0 {
            return None;
        }
    }
    let (request, _version) = head.lines().next()?.rsplit_once(' ')?;
    Some(request.to_owned())
}

//! A real S3 server process on loopback, whose data is in memory and whose callers must sign with a key it gave out.

use crate::ports::free_address;
use crate::waiting::until;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The server's own region.
pub const REGION: &str = "us-east-1";

/// Killed when dropped.
pub struct S3Server {
    process: Child,
    address: String,
    pub access_key: String,
    pub secret_key: String,
}

impl S3Server {
    /// Starts a server with these buckets and one user who may do everything; fails the test when the server is not installed.
    pub async fn start(buckets: &[&str]) -> S3Server {
        let program = program();
        let address = free_address();
        let port = address.rsplit_once(':').map_or("", |(_, port)| port);
        let process = Command::new(&program)
            .args(["-H", "127.0.0.1", "-p", port])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| {
                panic!(
                    "{} does not start: {error}; run scripts/test.sh once, which installs it",
                    program.display()
                )
            });
        let mut server = S3Server {
            process,
            address,
            access_key: String::new(),
            secret_key: String::new(),
        };
        until("the S3 server answers", async || server.ask("GET", "/moto-api/", "s3", "").ok()).await;
        server.create_user();
        for bucket in buckets {
            server.ask("PUT", &format!("/{bucket}"), "s3", "").expect("the bucket is created");
        }
        // From now on each request must be signed by that user.
        server.ask("POST", "/moto-api/reset-auth", "s3", "0").expect("requests are checked");
        server
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How the command line is told of a place below `data` in this bucket; the secret key comes apart from it.
    pub fn place_flags(&self, bucket: &str) -> Vec<String> {
        let endpoint = self.endpoint();
        let flags = [
            ("--bucket", bucket),
            ("--prefix", "data"),
            ("--store-endpoint", &endpoint),
            ("--region", REGION),
            ("--provider", "S3"),
            ("--path-style", "true"),
            ("--ak", &self.access_key),
        ];
        flags
            .into_iter()
            .flat_map(|(flag, value)| [flag.to_owned(), value.to_owned()])
            .collect()
    }

    /// Uploads to this bucket that were begun and neither completed nor aborted.
    pub fn open_uploads(&self, bucket: &str) -> usize {
        self.list(&format!("/{bucket}?uploads")).matches("<UploadId>").count()
    }

    /// Objects in this bucket, markers included.
    pub fn objects(&self, bucket: &str) -> usize {
        self.keys(bucket).len()
    }

    /// The keys of objects in this bucket, which has a thousand at most.
    pub fn keys(&self, bucket: &str) -> Vec<String> {
        let list = self.list(&format!("/{bucket}"));
        assert!(!list.contains("<IsTruncated>true"), "there are more keys than one list has");
        let keys = list.split("<Key>").skip(1).filter_map(|rest| rest.split('<').next());
        keys.map(str::to_owned).collect()
    }

    /// The content of an object, by its whole key.
    pub fn object(&self, bucket: &str, key: &str) -> Vec<u8> {
        self.get(&format!("/{bucket}/{key}"))
    }

    fn list(&self, path: &str) -> String {
        String::from_utf8(self.get(path)).expect("a list is text")
    }

    fn get(&self, path: &str) -> Vec<u8> {
        // This request is not signed.
        self.ask("POST", "/moto-api/reset-auth", "s3", "inf")
            .expect("requests are not checked");
        let content = self.ask_bytes("GET", path, "s3", "").expect("the server has it");
        self.ask("POST", "/moto-api/reset-auth", "s3", "0")
            .expect("requests are checked again");
        content
    }

    pub fn kill(&mut self) {
        self.process.kill().expect("a process of ours");
        self.process.wait().expect("it ends");
    }

    fn create_user(&mut self) {
        let policy = "%7B%22Version%22%3A%222012-10-17%22%2C%22Statement%22%3A%5B%7B%22Effect%22%3A%22Allow%22%2C%22Action%22%3A%22s3%3A%2A%22%2C%22Resource%22%3A%22%2A%22%7D%5D%7D";
        let iam = |body: &str| self.ask("POST", "/", "iam", body).expect("the user is created");
        iam("Action=CreateUser&UserName=worker&Version=2010-05-08");
        iam(&format!(
            "Action=PutUserPolicy&UserName=worker&PolicyName=all&Version=2010-05-08&PolicyDocument={policy}"
        ));
        let key = iam("Action=CreateAccessKey&UserName=worker&Version=2010-05-08");
        let element = |name: &str| {
            let text = key.split_once(&format!("<{name}>")).and_then(|(_, rest)| rest.split_once('<'));
            text.expect("a key").0.to_owned()
        };
        (self.access_key, self.secret_key) = (element("AccessKeyId"), element("SecretAccessKey"));
    }

    /// One request before signatures are checked, or to the server's own controls; answers with the body of a success.
    fn ask(&self, method: &str, path: &str, service: &str, body: &str) -> Result<String, String> {
        let answer = self.ask_bytes(method, path, service, body)?;
        String::from_utf8(answer).map_err(|error| error.to_string())
    }

    fn ask_bytes(&self, method: &str, path: &str, service: &str, body: &str) -> Result<Vec<u8>, String> {
        let wrong = |error: std::io::Error| error.to_string();
        let mut stream = TcpStream::connect(&self.address).map_err(wrong)?;
        stream.set_read_timeout(Some(Duration::from_secs(20))).map_err(wrong)?;
        let kind = match service {
            "iam" => "application/x-www-form-urlencoded",
            _ => "text/plain",
        };
        // The server tells by the scope of the signature which service is meant.
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: {}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=none/20260101/{REGION}/{service}/aws4_request, SignedHeaders=host, Signature=none\r\n\r\n{body}",
            self.address,
            body.len()
        );
        stream.write_all(request.as_bytes()).map_err(wrong)?;
        let mut head = Vec::new();
        stream.read_to_end(&mut head).map_err(wrong)?;
        let end = head.windows(4).position(|bytes| bytes == b"\r\n\r\n").ok_or("no answer")?;
        let body = head.split_off(end + 4);
        let head = String::from_utf8_lossy(&head);
        match head.split(' ').nth(1) {
            Some(status) if status.starts_with('2') => Ok(body),
            _ => Err(format!("{head}{}", String::from_utf8_lossy(&body))),
        }
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        // It may have been killed already.
        if self.process.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.kill();
        }
    }
}

/// Where scripts/prepare.sh has put the server.
fn program() -> PathBuf {
    if let Some(program) = std::env::var_os("QUORATE_S3_SERVER") {
        return program.into();
    }
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache");
    cache.unwrap_or_else(home).join("quorate-s3-server/5.2.5/bin/moto_server")
}

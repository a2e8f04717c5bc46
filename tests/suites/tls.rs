//! TLS on the public port and mutual TLS on the peer port: who is let in, who is not, and what each is told.

use quorate_client::{Client, ClientOptions, Read, TlsOptions};
use quorate_tests::certificates::{Authority, Pair};
use quorate_tests::cluster::{Cluster, write_secret};
use quorate_tests::http;
use quorate_tests::peer::{Peer, binary};
use quorate_tests::waiting::{phase, until};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The first byte of a TLS alert.
const TLS_ALERT: u8 = 0x15;

fn directory() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}

/// `curl` at one path of a peer; the answer is `body status version`.
fn curl(uri: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new("curl");
    command.args(["-sS", "--max-time", "10", "-w", " %{http_code} %{http_version}"]);
    command.args(arguments).arg(uri).output().expect("curl runs")
}

fn said(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

/// `quorate status` at one endpoint.
fn status(endpoint: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(binary());
    command
        .args(["status", "--endpoint", endpoint])
        .args(arguments)
        .output()
        .expect("the binary runs")
}

fn client(endpoint: &str, tls: TlsOptions) -> Client {
    let options = ClientOptions {
        tls,
        deadline: Duration::from_secs(3),
        ..ClientOptions::default()
    };
    Client::open_with([endpoint], options).expect("endpoint and files can be used")
}

fn trusting(authority: &Authority) -> TlsOptions {
    TlsOptions {
        ca_file: Some(authority.ca().into()),
        ..TlsOptions::default()
    }
}

fn showing(authority: &Authority, own: &Pair) -> TlsOptions {
    TlsOptions {
        cert_file: Some(own.cert.clone().into()),
        key_file: Some(own.key.clone().into()),
        ..trusting(authority)
    }
}

/// Why a read fails.
async fn failure(endpoint: &str, tls: TlsOptions) -> String {
    let read = client(endpoint, tls).get("i", "a", Read::linearizable()).await;
    read.expect_err("it is not let in").to_string()
}

fn public_tls(pair: &Pair) -> [&str; 4] {
    ["--tls-cert", &pair.cert, "--tls-key", &pair.key]
}

/// One peer whose public port speaks TLS only; waits until it serves.
async fn secured_peer(further: &[&str], authority: &Authority, own: Option<&Pair>) -> (Cluster, String) {
    let mut cluster = Cluster::prepare(1, further);
    cluster.peers[0].start();
    let address = cluster.peers[0].public.clone();
    let own: Vec<&str> = own.map_or(Vec::new(), |own| vec!["--cert", &own.cert, "--key", &own.key]);
    let ca = authority.ca();
    let arguments = [&["--cacert", &ca], own.as_slice()].concat();
    until("the peer serves", async || {
        let ready = curl(&format!("https://{address}/readyz"), &arguments);
        said(&ready).contains(" 200 ").then_some(())
    })
    .await;
    (cluster, address)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_public_port_speaks_grpc_and_http_over_tls_and_nothing_without() {
    let dir = directory();
    let (authority, stranger) = (Authority::new("ours", dir.path()), Authority::new("theirs", dir.path()));
    let pair = authority.issue("public");
    let (_cluster, address) = secured_peer(&public_tls(&pair), &authority, None).await;
    let (https, ca) = (format!("https://{address}"), authority.ca());

    phase("gRPC, HTTP/1.1, HTTP/2 and the command line over TLS");
    let created = format!("{https}/MetaService/http/create_instance?token=suite-token");
    let created = curl(&created, &["--cacert", &ca, "--http1.1", "-d", "{\"instance_id\":\"i\"}"]);
    assert!(said(&created).ends_with("200 1.1"), "{}", said(&created));
    let secured = client(&https, trusting(&authority));
    let put = secured.put("i", "a", "value").await.expect("a write over TLS");
    let got = secured.get("i", "a", Read::linearizable()).await.expect("a read over TLS");
    assert_eq!(got.value.map(|attribute| attribute.revision), Some(put.revision));
    let live = curl(&format!("{https}/livez"), &["--cacert", &ca, "--http2"]);
    assert!(said(&live).ends_with("200 2"), "{}", said(&live));
    let shown = status(&https, &["--ca-file", &ca]);
    assert!(said(&shown).contains("Healthy"), "{}", said(&shown));

    phase("no TLS");
    let plain = curl(&format!("http://{address}/livez"), &[]);
    assert!(
        said(&plain).contains("this port speaks TLS only") && said(&plain).ends_with("400 1.1"),
        "{}",
        said(&plain)
    );
    failure(&address, TlsOptions::default()).await;
    assert!(!status(&address, &[]).status.success());

    phase("another CA, or none");
    let told = failure(&https, trusting(&stranger)).await;
    assert!(told.contains("not signed by the given CA"), "{told}");
    let told = status(&https, &["--ca-file", &stranger.ca()]);
    assert!(
        !told.status.success() && said(&told).contains("not signed by the given CA"),
        "{}",
        said(&told)
    );
    let told = status(&https, &[]);
    assert!(said(&told).contains("--ca-file"), "{}", said(&told));
    assert!(!curl(&format!("{https}/livez"), &["--cacert", &stranger.ca()]).status.success());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn certificates_are_read_again_when_they_change() {
    let dir = directory();
    let authority = Authority::new("ours", dir.path());
    let pair = authority.issue("public");
    let (mut cluster, address) = secured_peer(&public_tls(&pair), &authority, None).await;
    let https = format!("https://{address}");
    let until_told = async |words: &str| {
        until(words, async || {
            let read = client(&https, trusting(&authority)).get("i", "a", Read::linearizable()).await;
            let told = read.err().map_or("let in".to_owned(), |error| error.to_string());
            told.contains(words).then_some(())
        })
        .await;
    };

    phase("an expired certificate is put in its place, then one for another machine, then a good one");
    until_told("does not exist").await;
    authority.issue_expired("public");
    until_told("has expired").await;
    authority.issue_for("public", "elsewhere.example");
    until_told("not for the name").await;
    authority.issue("public");
    until_told("does not exist").await;

    phase("a file that cannot be used changes nothing");
    std::fs::write(&pair.cert, "no certificate").expect("written");
    until("the peer says so", async || {
        let _ = client(&https, trusting(&authority)).get("i", "a", Read::linearizable()).await;
        cluster.peers[0].log().contains("the former stay in use").then_some(())
    })
    .await;
    until_told("does not exist").await;
    assert!(cluster.peers[0].exited().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn callers_show_a_certificate_of_the_client_ca_or_are_refused() {
    let dir = directory();
    let (authority, stranger) = (Authority::new("ours", dir.path()), Authority::new("theirs", dir.path()));
    let (pair, own, other) = (authority.issue("public"), authority.issue("client"), stranger.issue("client"));
    let ca = authority.ca();
    let further = [&public_tls(&pair)[..], &["--tls-client-ca", &ca]].concat();
    let (_cluster, address) = secured_peer(&further, &authority, Some(&own)).await;
    let https = format!("https://{address}");

    let told = failure(&https, showing(&authority, &own)).await;
    assert!(
        told.contains("does not exist"),
        "let in, and told that there is no such instance: {told}"
    );
    // TLS 1.3 lets a caller speak before its certificate is judged, so now and then it sees the connection close first.
    for (what, tls) in [("none", trusting(&authority)), ("another CA's", showing(&authority, &other))] {
        until(&format!("a caller with the certificate of {what} is told"), async || {
            let told = failure(&https, tls.clone()).await;
            told.contains("refused our certificate, or wants one").then_some(())
        })
        .await;
    }
    let shown = status(&https, &["--ca-file", &ca, "--cert-file", &own.cert, "--key-file", &own.key]);
    assert!(said(&shown).contains("Healthy"), "{}", said(&shown));
    until("so is the command line", async || {
        let told = status(&https, &["--ca-file", &ca]);
        assert!(!told.status.success());
        said(&told).contains("wants one").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_redirect_stays_within_tls_and_outside_of_it() {
    let dir = directory();
    let authority = Authority::new("ours", dir.path());
    let pair = authority.issue("public");
    let further = [&public_tls(&pair)[..], &["--tls-allow-plain"]].concat();
    let cluster = Cluster::start_with(3, &further).await;
    cluster.create_instance("i").await;
    let (leader, follower) = cluster.leader_and_follower().await;
    let (leader, follower) = (&cluster.peers[leader].public, &cluster.peers[follower].public);
    for scheme in ["http", "https"] {
        let uri = format!("{scheme}://{follower}/MetaService/http/get_instance?token=suite-token&instance_id=i");
        let redirected = curl(&uri, &["--cacert", &authority.ca(), "-H", "quorate-redirect: 1", "-D", "-"]);
        let location = format!("location: {scheme}://{leader}/MetaService/http/get_instance");
        assert!(said(&redirected).contains(&location), "{}", said(&redirected));
    }
}

fn peer_tls<'a>(pair: &'a Pair, ca: &'a str) -> [&'a str; 6] {
    ["--peer-tls-cert", &pair.cert, "--peer-tls-key", &pair.key, "--peer-tls-ca", ca]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn peers_of_one_ca_work_together_and_a_peer_of_another_is_kept_out() {
    let dir = directory();
    let (authority, stranger) = (Authority::new("ours", dir.path()), Authority::new("theirs", dir.path()));
    let (ca, other_ca, pair) = (authority.ca(), stranger.ca(), authority.issue("peer"));
    let mut cluster = Cluster::start_with(3, &peer_tls(&pair, &ca)).await;
    cluster.create_instance("i").await;

    phase("what is no TLS is answered by an alert, not by the handshake of peers");
    let mut stream = TcpStream::connect(&cluster.peers[0].peer_address)
        .await
        .expect("the peer port accepts");
    stream.write_all(&[b'Q'; 100]).await.expect("sent");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert_eq!(answer.first(), Some(&TLS_ALERT), "{answer:?}");

    let kept_out = cluster.follower().await;
    let wrong = [
        (
            "of another CA",
            peer_tls(&stranger.issue("peer"), &other_ca).map(str::to_owned),
            "is not signed by our CA",
        ),
        (
            "of another CA that trusts ours",
            peer_tls(&stranger.issue("peer2"), &ca).map(str::to_owned),
            "refused us",
        ),
        (
            "expired",
            peer_tls(&authority.issue_expired("old"), &ca).map(str::to_owned),
            "refused us",
        ),
    ];
    for (what, arguments, told) in &wrong {
        phase(&format!("a peer whose certificate is {what}"));
        let peer = &mut cluster.peers[kept_out];
        peer.kill();
        let said_before = peer.log().len();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        peer.start_with(&arguments);
        let address = peer.public.clone();
        until("it says why", async || {
            cluster.peers[kept_out].log()[said_before..].contains(told).then_some(())
        })
        .await;
        let ready = http::get(&address, "/readyz").await.expect("its public port answers");
        assert_eq!(ready.status, 503, "{}", ready.body);
    }
    let refused = |peer: &Peer| peer.log().contains("a peer was refused");
    assert!(
        cluster
            .peers
            .iter()
            .enumerate()
            .any(|(position, peer)| position != kept_out && refused(peer))
    );

    phase("with its own certificate it comes back; the others went on without it");
    let instance = cluster.instance((kept_out + 1) % 3, "i").await;
    cluster.peers[kept_out].kill();
    cluster.peers[kept_out].start();
    cluster.wait_ready().await;
    assert_eq!(cluster.instance(kept_out, "i").await, instance);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn settings_that_cannot_be_used_are_refused_with_what_to_do() {
    let dir = directory();
    let authority = Authority::new("ours", dir.path());
    let (pair, other, ca) = (authority.issue("one"), authority.issue("two"), authority.ca());
    let open_key = authority.issue("open").key;
    std::fs::set_permissions(&open_key, std::fs::Permissions::from_mode(0o644)).expect("the mode is set");
    let (cert, key) = (pair.cert.as_str(), pair.key.as_str());
    let no_key = dir.path().join("no-key").display().to_string();
    write_secret(dir.path().join("no-key").as_path(), "no key");
    let cases: [(&[&str], &[&str]); 9] = [
        (&["--tls-cert", cert], &["tls is incomplete", "--tls-key"]),
        (&["--tls-client-ca", &ca], &["tls is incomplete", "--tls-cert"]),
        (
            &["--tls-cert", cert, "--tls-key", &other.key],
            &["cannot be used together", "is the key the certificate's?"],
        ),
        (&["--tls-cert", key, "--tls-key", key], &["no certificate in", "PEM"]),
        (&["--tls-cert", cert, "--tls-key", &no_key], &["no private key in", "PEM"]),
        (&["--tls-cert", "/absent", "--tls-key", key], &["/absent"]),
        (&["--tls-cert", cert, "--tls-key", &open_key], &["everybody may read", "chmod 600"]),
        (
            &["--tls-cert", cert, "--tls-key", key, "--tls-client-ca", &ca, "--tls-allow-plain"],
            &["keep one"],
        ),
        (
            &["--peer-tls-cert", cert, "--peer-tls-key", key],
            &["peer_tls is incomplete", "--peer-tls-ca"],
        ),
    ];
    for (arguments, told) in cases {
        let mut cluster = Cluster::prepare(1, arguments);
        cluster.peers[0].start();
        cluster.peers[0].wait_refusal().await.assert_says(told);
        let key = std::fs::read_to_string(key).expect("the key is there");
        let secret = key.lines().nth(1).expect("a line of base64");
        assert!(!cluster.peers[0].log().contains(secret), "the key is in the log");
    }
}

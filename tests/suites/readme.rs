//! Every command of the README's tour, and the client's example, run as they stand.

use quorate_tests::cluster::Cluster;
use std::process::Command;

/// The `sh` blocks of the section "Tour", in order, as one script.
fn tour() -> String {
    let readme = include_str!("../../README.md");
    let section = readme
        .split("\n## ")
        .find(|section| section.starts_with("Tour\n"))
        .expect("README has a section Tour");
    let blocks = section
        .split("```sh\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap_or_default());
    let script: String = blocks.collect();
    assert!(script.contains("kill -9"), "the tour kills a leader");
    script
}

/// A port P such that P, P+1, P+10, P+11, P+20 and P+21 are free, outside the range the other suites draw from.
fn free_base() -> u16 {
    let free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    let first = (std::process::id() % 300) as u16;
    let bases = (0..300).map(|step| 20_000 + (first + step) % 300 * 30);
    let usable = bases
        .into_iter()
        .find(|base| [0, 1, 10, 11, 20, 21].iter().all(|offset| free(base + offset)));
    usable.expect("six free ports among nine thousand")
}

#[test]
fn the_tour_of_the_readme_runs() {
    let binary = quorate_tests::peer::binary();
    let path = format!(
        "{}:{}",
        binary.parent().expect("a directory").display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let port = free_base();
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &tour()])
        .env("PATH", path)
        .env("QUORATE_TOUR_PORT", port.to_string())
        .output()
        .expect("bash runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // Whatever went wrong, no peer stays behind.
    let _ = Command::new("pkill")
        .args([
            "-9",
            "-f",
            &format!("serve --data-dir .*--listen 127.0.0.1:({port}|{}|{}) ", port + 10, port + 20),
        ])
        .status();
    assert!(output.status.success(), "the tour failed\n{out}\n{err}");
    assert!(out.contains("Healthy"), "{out}");
}

#[tokio::test]
async fn the_example_of_the_client_runs() {
    let cluster = Cluster::start(3).await;
    let created = cluster
        .doris(0, "create_instance", r#"{"instance_id":"tour","name":"t","user_id":"u"}"#)
        .await;
    assert_eq!(created.status, 200, "{}", created.body);
    let example = quorate_tests::peer::binary().parent().expect("a directory").join("examples/tour");
    let endpoints: Vec<String> = cluster.peers.iter().map(|peer| peer.public.clone()).collect();
    let output = tokio::task::spawn_blocking(move || Command::new(example).arg("tour").args(endpoints).output())
        .await
        .expect("joined");
    let output = output.expect("the example is built");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

//! A tour of the client: `cargo run -p quorate-client --example tour -- <instance> <host:port>...`.
//! The instance must exist; the example writes and deletes attributes that start with `tour/`.

use quorate_client::{Client, ErrorCode, Outcome, Read};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let Some(instance) = arguments.next() else {
        anyhow::bail!("usage: tour <instance> <host:port>...");
    };
    let client = Client::open(arguments)?;

    let status = client.status().await?;
    println!(
        "cluster {} at revision {}, led by peer {}",
        status.cluster_id, status.revision, status.leader_id
    );

    // A write is sent under a number of the client's session: repeated after a lost answer, it is executed once.
    let first = client.put(&instance, "tour/owner", "alice").await?;
    println!("wrote tour/owner at revision {}", first.revision);

    // Compare and set: refused unless the attribute is still the one we wrote.
    let second = client.put_if(&instance, "tour/owner", "bob", first.revision).await?;
    match client.put_if(&instance, "tour/owner", "carol", first.revision).await {
        Err(error) if error.code() == Some(ErrorCode::PreconditionFailed) => {
            assert_eq!(error.outcome(), Outcome::NotApplied);
            println!("refused as it should be: {error}");
        }
        other => anyhow::bail!("expected precondition_failed, got {other:?}"),
    }

    // Three ways to read the present, and one to read the past.
    let now = client.get(&instance, "tour/owner", Read::linearizable()).await?;
    let own = client.get(&instance, "tour/owner", Read::at_least(client.last_revision())).await?;
    let stale = client.get(&instance, "tour/owner", Read::stale()).await?;
    let past = client.get(&instance, "tour/owner", Read::at_revision(first.revision)).await?;
    for (name, answer) in [("linearizable", now), ("at least", own), ("stale", stale), ("at revision", past)] {
        let value = answer.value.map(|attribute| String::from_utf8_lossy(&attribute.value).into_owned());
        println!("{name:>12} read at revision {}: {value:?}", answer.revision);
    }

    let mut after = None;
    loop {
        let page = client.list(&instance, "tour/", 100, after, Read::linearizable()).await?.value;
        for attribute in &page.attributes {
            println!("{} was last written at revision {}", attribute.name, attribute.revision);
        }
        after = page.next;
        if after.is_none() {
            break;
        }
    }

    let deleted = client.delete_if(&instance, "tour/owner", second.revision).await?;
    println!("deleted at revision {}; it existed: {}", deleted.revision, deleted.value);
    client.close().await;
    Ok(())
}

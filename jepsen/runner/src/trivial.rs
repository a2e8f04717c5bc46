//! A load of puts and reads of a few attributes, until there are workloads.

use crate::history::{Kind, Op, Reply};
use crate::verdict::Verdict;
use crate::workload::{Stage, Workload};
use async_trait::async_trait;
use quorate_tests::{http, native};
use quorate_wire::quorate::v1::metadata_client::MetadataClient;
use quorate_wire::quorate::v1::{Attribute, GetAttributeRequest, PutAttributeRequest};
use serde_json::json;
use std::path::Path;
use std::time::Duration;
use tokio::time::{sleep, timeout};

const INSTANCE: &str = "trivial";
const CLIENTS: u64 = 6;

pub struct Trivial;

pub fn by_name(name: &str) -> Option<Box<dyn Workload>> {
    (name == "trivial").then(|| Box::new(Trivial) as Box<dyn Workload>)
}

fn with_token<T>(stage: &Stage, message: T) -> tonic::Request<T> {
    let mut request = native::call(message);
    request
        .metadata_mut()
        .insert("quorate-token", stage.field.token().parse().expect("a token"));
    request
}

async fn read(
    stage: &Stage,
    client: &mut MetadataClient<tonic::transport::Channel>,
    name: String,
) -> Result<Option<Attribute>, tonic::Status> {
    let message = GetAttributeRequest {
        instance_id: INSTANCE.into(),
        name,
        ..Default::default()
    };
    Ok(client.get_attribute(with_token(stage, message)).await?.into_inner().attribute)
}

async fn client(stage: Stage, number: u64) {
    let mut random = stage.random(number);
    let mut process = stage.recorder.new_process();
    let clients: Vec<_> = (0..stage.field.size())
        .map(|node| native::metadata(&stage.field.public(node)))
        .collect();
    let mut value = 0_u64;
    while !stage.is_stopping() {
        sleep(Duration::from_millis(1_000 * CLIENTS / stage.rate.max(1))).await;
        let node = random.below(clients.len() as u64) as usize;
        let mut metadata = clients[node].clone();
        let key = random.below(10);
        if random.chance(50) {
            value += 1;
            stage.recorder.invoke(process, "write", json!([key, value]));
            let message = PutAttributeRequest {
                instance_id: INSTANCE.into(),
                name: format!("k{key}"),
                value: format!("{number}-{value}").into_bytes().into(),
                if_revision: None,
            };
            let result = timeout(Duration::from_secs(1), metadata.put_attribute(with_token(&stage, message))).await;
            let (kind, revision) = match result {
                Ok(Ok(reply)) => (Kind::Ok, Some(reply.into_inner().revision)),
                _ => (Kind::Info, None),
            };
            let reply = Reply {
                revision,
                node: Some(stage.field.name(node)),
                ..Reply::default()
            };
            stage.recorder.complete(process, kind, "write", json!([key, value]), reply);
            if kind == Kind::Info {
                process = stage.recorder.new_process();
            }
        } else {
            stage.recorder.invoke(process, "read", json!([key, null]));
            let result = timeout(Duration::from_secs(1), read(&stage, &mut metadata, format!("k{key}"))).await;
            let (kind, revision) = match result {
                Ok(Ok(found)) => (Kind::Ok, found.map(|found| found.revision)),
                _ => (Kind::Fail, None),
            };
            let reply = Reply {
                revision,
                node: Some(stage.field.name(node)),
                ..Reply::default()
            };
            stage.recorder.complete(process, kind, "read", json!([key, revision]), reply);
        }
    }
}

#[async_trait]
impl Workload for Trivial {
    fn name(&self) -> &'static str {
        "trivial"
    }

    async fn prepare(&self, stage: &Stage) -> anyhow::Result<()> {
        let path = format!("/MetaService/http/create_instance?token={}", stage.field.token());
        let reply = http::send(
            &stage.field.public(0),
            "POST",
            &path,
            &[],
            &format!("{{\"instance_id\":\"{INSTANCE}\"}}"),
        )
        .await?;
        anyhow::ensure!(reply.status == 200, "{}", reply.body);
        Ok(())
    }

    async fn run(&self, stage: &Stage) -> anyhow::Result<()> {
        let clients: Vec<_> = (0..CLIENTS).map(|number| tokio::spawn(client(stage.clone(), number))).collect();
        for client in clients {
            client.await?;
        }
        Ok(())
    }

    async fn read_all(&self, stage: &Stage) -> anyhow::Result<()> {
        for node in 0..stage.field.size() {
            for key in 0..10 {
                read(stage, &mut native::metadata(&stage.field.public(node)), format!("k{key}")).await?;
            }
        }
        Ok(())
    }

    fn check(&self, history: &[Op], _: &Path) -> Vec<Verdict> {
        vec![Verdict::valid("trivial", format!("{} lines", history.len()))]
    }
}

//! How an operation is sent to each system: over one connection, with the generated stubs and nothing else in between, so
//! that the load generator costs both sides the same.

use crate::etcd_api as etcd;
use crate::random::Random;
use crate::workload::{INSTANCE, Operation, key};
use bytes::Bytes;
use clap::ValueEnum;
use quorate_wire::quorate::v1 as quorate;
use quorate_wire::quorate::v1::metadata_client::MetadataClient;
use serde::Serialize;
use std::time::Duration;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

/// A system under load.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum System {
    Quorate,
    Etcd,
}

impl System {
    pub fn name(self) -> &'static str {
        match self {
            System::Quorate => "quorate",
            System::Etcd => "etcd",
        }
    }
}

/// One connection to one peer.
#[derive(Clone, Debug)]
pub struct Driver {
    system: System,
    channel: Channel,
}

/// Opens a connection.
pub async fn connect(address: &str) -> anyhow::Result<Channel> {
    Ok(endpoint(address)?.connect().await?)
}

/// A connection that opens on first use, and again after it broke.
pub fn connect_lazy(address: &str) -> anyhow::Result<Channel> {
    Ok(endpoint(address)?.connect_lazy())
}

fn endpoint(address: &str) -> anyhow::Result<Endpoint> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?;
    Ok(endpoint.tcp_nodelay(true).connect_timeout(Duration::from_secs(1)))
}

impl Driver {
    pub fn new(system: System, channel: Channel) -> Driver {
        Driver { system, channel }
    }

    /// Sends one operation on the key with this number.
    pub async fn run(&self, operation: Operation, number: u64, random: &mut Random) -> Result<(), Status> {
        match operation {
            Operation::Put => self.put(number, random.value()).await,
            Operation::Txn => self.txn(number, random.value()).await,
            Operation::Get => self.get(number, false).await,
            Operation::GetStale => self.get(number, true).await,
        }
    }

    pub async fn put(&self, number: u64, value: Bytes) -> Result<(), Status> {
        match self.system {
            System::Quorate => {
                let request = quorate::PutAttributeRequest {
                    instance_id: INSTANCE.to_owned(),
                    name: key(number),
                    value,
                    if_revision: None,
                };
                MetadataClient::new(self.channel.clone()).put_attribute(request).await?;
            }
            System::Etcd => {
                let request = etcd::PutRequest {
                    key: key(number).into(),
                    value,
                };
                etcd::call::<_, etcd::PutResponse>(self.channel.clone(), etcd::PUT, request).await?;
            }
        }
        Ok(())
    }

    async fn txn(&self, number: u64, value: Bytes) -> Result<(), Status> {
        if self.system == System::Quorate {
            return self.put(number, value).await;
        }
        let record = etcd::PutRequest {
            key: key(number).into(),
            value,
        };
        let index = etcd::PutRequest {
            key: format!("index/{}", key(number)).into(),
            value: key(number).into(),
        };
        let success = [record, index].map(|put| etcd::RequestOp { request_put: Some(put) }).into();
        let reply: etcd::TxnResponse = etcd::call(self.channel.clone(), etcd::TXN, etcd::TxnRequest { success }).await?;
        if reply.succeeded {
            Ok(())
        } else {
            Err(Status::internal("etcd did not do the transaction"))
        }
    }

    pub async fn get(&self, number: u64, stale: bool) -> Result<(), Status> {
        let found = match self.system {
            System::Quorate => {
                let consistency = if stale {
                    quorate::Consistency::Stale
                } else {
                    quorate::Consistency::Linearizable
                };
                let request = quorate::GetAttributeRequest {
                    instance_id: INSTANCE.to_owned(),
                    name: key(number),
                    consistency: consistency.into(),
                    at_revision: 0,
                };
                MetadataClient::new(self.channel.clone())
                    .get_attribute(request)
                    .await?
                    .into_inner()
                    .attribute
                    .is_some()
            }
            System::Etcd => {
                let request = etcd::RangeRequest {
                    key: key(number).into(),
                    serializable: stale,
                };
                let reply: etcd::RangeResponse = etcd::call(self.channel.clone(), etcd::RANGE, request).await?;
                !reply.kvs.is_empty()
            }
        };
        if found {
            Ok(())
        } else {
            Err(Status::not_found(format!("key {} was written and is not there", key(number))))
        }
    }
}

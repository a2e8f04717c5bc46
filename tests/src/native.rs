//! The gRPC API, one call at one peer, without the comforts of the client crate: tests decide where a call goes.

use crate::waiting::until;
use quorate_wire::quorate::v1::admin_client::AdminClient;
use quorate_wire::quorate::v1::metadata_client::MetadataClient;
use quorate_wire::quorate::v1::{Attribute, GetAttributeRequest, ListAttributesRequest, StatusReply, StatusRequest};
use std::collections::BTreeMap;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// Deadline of one call: shorter than any test's patience, longer than an election.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(3);

/// A connection that is made when it is used, and made again when it broke.
pub fn channel(address: &str) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address of ours is a valid URI");
    endpoint.connect_timeout(Duration::from_secs(1)).connect_lazy()
}

pub fn metadata(address: &str) -> MetadataClient<Channel> {
    MetadataClient::new(channel(address))
}

/// A request with a deadline.
pub fn call<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(CALL_TIMEOUT);
    request
}

/// A value of a reply's metadata; empty when absent.
pub fn metadata_value<'a>(status: &'a Status, name: &str) -> &'a str {
    status.metadata().get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
}

pub async fn status(address: &str) -> Result<StatusReply, Status> {
    let reply = AdminClient::new(channel(address)).status(call(StatusRequest {})).await?;
    Ok(reply.into_inner())
}

/// Linearizable read of one attribute.
pub async fn get(client: &mut MetadataClient<Channel>, instance_id: &str, name: &str) -> Result<Option<Attribute>, Status> {
    let request = GetAttributeRequest {
        instance_id: instance_id.into(),
        name: name.into(),
        ..Default::default()
    };
    Ok(client.get_attribute(call(request)).await?.into_inner().attribute)
}

/// Linearizable read of all attributes of an instance, page by page at one revision.
pub async fn list(address: &str, instance_id: &str) -> Result<BTreeMap<String, Attribute>, Status> {
    let mut client = metadata(address);
    let mut all = BTreeMap::new();
    let (mut page_token, mut at_revision) = (String::new(), 0);
    loop {
        let request = ListAttributesRequest {
            instance_id: instance_id.into(),
            page_token,
            at_revision,
            ..Default::default()
        };
        let page = client.list_attributes(call(request)).await?.into_inner();
        all.extend(page.attributes.into_iter().map(|attribute| (attribute.name.clone(), attribute)));
        if page.next_page_token.is_empty() {
            return Ok(all);
        }
        (page_token, at_revision) = (page.next_page_token, page.revision);
    }
}

/// As [`list`], from a peer that may have no leader for a moment.
pub async fn list_patiently(address: &str, instance_id: &str) -> BTreeMap<String, Attribute> {
    until("all attributes are listed", async || match list(address, instance_id).await {
        Ok(all) => Some(all),
        Err(error) => {
            eprintln!("{address}: {error}");
            None
        }
    })
    .await
}

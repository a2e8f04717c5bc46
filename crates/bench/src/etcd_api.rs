//! The few messages and calls of etcd's v3 API that the workloads need, with etcd's field numbers. Fields we do not send or
//! read are left out; protobuf skips them.

use bytes::Bytes;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::Channel;
use tonic::{Request, Status};

#[derive(Clone, PartialEq, prost::Message)]
pub struct ResponseHeader {
    #[prost(uint64, tag = "2")]
    pub member_id: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct RangeRequest {
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    #[prost(bool, tag = "7")]
    pub serializable: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct KeyValue {
    #[prost(bytes = "bytes", tag = "5")]
    pub value: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct RangeResponse {
    #[prost(message, repeated, tag = "2")]
    pub kvs: Vec<KeyValue>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct PutRequest {
    #[prost(bytes = "bytes", tag = "1")]
    pub key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct PutResponse {}

#[derive(Clone, PartialEq, prost::Message)]
pub struct RequestOp {
    #[prost(message, optional, tag = "2")]
    pub request_put: Option<PutRequest>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct TxnRequest {
    /// Done when all of no comparisons hold: always.
    #[prost(message, repeated, tag = "2")]
    pub success: Vec<RequestOp>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct TxnResponse {
    #[prost(bool, tag = "2")]
    pub succeeded: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct StatusRequest {}

#[derive(Clone, PartialEq, prost::Message)]
pub struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    pub header: Option<ResponseHeader>,
    /// Member id of the leader; 0 when there is none.
    #[prost(uint64, tag = "4")]
    pub leader: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct MoveLeaderRequest {
    #[prost(uint64, tag = "1")]
    pub target_id: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Member {
    #[prost(uint64, tag = "1")]
    pub id: u64,
    #[prost(string, repeated, tag = "3")]
    pub peer_urls: Vec<String>,
    /// None as long as it has not started.
    #[prost(string, repeated, tag = "4")]
    pub client_urls: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct MemberListRequest {}

#[derive(Clone, PartialEq, prost::Message)]
pub struct MemberListResponse {
    #[prost(message, repeated, tag = "2")]
    pub members: Vec<Member>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct MemberAddRequest {
    #[prost(string, repeated, tag = "1")]
    pub peer_urls: Vec<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct MemberRemoveRequest {
    #[prost(uint64, tag = "1")]
    pub id: u64,
}

/// Any response that only says that it is done.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Done {}

/// One unary call.
pub async fn call<Req, Rep>(channel: Channel, path: &'static str, request: Req) -> Result<Rep, Status>
where
    Req: prost::Message + 'static,
    Rep: prost::Message + Default + 'static,
{
    let mut grpc = tonic::client::Grpc::new(channel);
    grpc.ready().await.map_err(|error| Status::unavailable(error.to_string()))?;
    let codec = tonic_prost::ProstCodec::<Req, Rep>::default();
    let reply = grpc.unary(Request::new(request), PathAndQuery::from_static(path), codec).await?;
    Ok(reply.into_inner())
}

pub const PUT: &str = "/etcdserverpb.KV/Put";
pub const RANGE: &str = "/etcdserverpb.KV/Range";
pub const TXN: &str = "/etcdserverpb.KV/Txn";
pub const STATUS: &str = "/etcdserverpb.Maintenance/Status";
pub const MOVE_LEADER: &str = "/etcdserverpb.Maintenance/MoveLeader";
pub const MEMBER_LIST: &str = "/etcdserverpb.Cluster/MemberList";
pub const MEMBER_ADD: &str = "/etcdserverpb.Cluster/MemberAdd";
pub const MEMBER_REMOVE: &str = "/etcdserverpb.Cluster/MemberRemove";

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    /// Bytes as etcd 3.4's own definitions encode them.
    #[test]
    fn messages_have_etcds_field_numbers() {
        let put = PutRequest {
            key: Bytes::from_static(b"k"),
            value: Bytes::from_static(b"v"),
        };
        assert_eq!(put.encode_to_vec(), [0x0a, 1, b'k', 0x12, 1, b'v']);
        let range = RangeRequest {
            key: Bytes::from_static(b"k"),
            serializable: true,
        };
        assert_eq!(range.encode_to_vec(), [0x0a, 1, b'k', 0x38, 1]);
        let txn = TxnRequest {
            success: vec![RequestOp { request_put: Some(put) }],
        };
        assert_eq!(txn.encode_to_vec(), [0x12, 8, 0x12, 6, 0x0a, 1, b'k', 0x12, 1, b'v']);
        assert_eq!(MoveLeaderRequest { target_id: 3 }.encode_to_vec(), [0x08, 3]);
        assert_eq!(MemberRemoveRequest { id: 3 }.encode_to_vec(), [0x08, 3]);
        let peer_urls = vec!["p".to_owned()];
        assert_eq!(MemberAddRequest { peer_urls }.encode_to_vec(), [0x0a, 1, b'p']);
    }

    /// With the header, the name and the mark of a learner, which we do not read.
    #[test]
    fn a_list_of_members_is_read() {
        let member = [0x08, 7, 0x12, 1, b'n', 0x1a, 1, b'p', 0x22, 1, b'c', 0x28, 1];
        let listed = [&[0x0a, 2, 0x08, 9, 0x12, member.len() as u8][..], &member].concat();
        let listed = MemberListResponse::decode(&listed[..]).expect("it is well-formed");
        let expected = Member {
            id: 7,
            peer_urls: vec!["p".to_owned()],
            client_urls: vec!["c".to_owned()],
        };
        assert_eq!(listed.members, [expected]);
    }
}

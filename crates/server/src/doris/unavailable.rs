//! Routes of tablets, transactions and raw values, whose data does not exist here yet: what is wrong with a call is said as
//! upstream says it (spec/doris-http.md 5.3, 12.24-12.26, 13.5, 14.6), and a right one is told that the route is missing.

use super::call::Call;
use super::keys;
use super::read::{at_one_revision, wait_until_fresh};
use futures::future::BoxFuture;
use prost::Name as _;
use quorate_model::{ErrorCode, MetaError, proto_json};
use quorate_state_machine::instances;
use quorate_wire::doris::{AbortTxnRequest, FinishTabletJobRequest, GetTabletStatsRequest, InstanceInfoPb, StorageVaultPb};

type Checked = BoxFuture<'static, Result<(), MetaError>>;

/// The instance that an id of a node stands for; empty for none.
async fn instance_of(call: &Call, cloud_unique_id: &str) -> Result<String, MetaError> {
    wait_until_fresh(call).await?;
    at_one_revision(call, |reader| Ok(instances::resolve(reader, cloud_unique_id)?)).map(|(_, found)| found)
}

async fn require_instance(call: &Call, cloud_unique_id: &str) -> Result<(), MetaError> {
    match instance_of(call, cloud_unique_id).await?.is_empty() {
        true => Err(MetaError::invalid("empty instance_id")),
        false => Ok(()),
    }
}

/// The number a parameter begins with, as C++ reads one.
fn is_number(text: &str) -> bool {
    let text = text.trim_start_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let digits = unsigned.bytes().take_while(u8::is_ascii_digit).count();
    text[..text.len() - unsigned.len() + digits].parse::<i64>().is_ok()
}

fn not_a_number(code: ErrorCode, name: &str, given: &str) -> MetaError {
    MetaError::new(code, format!("{name} {given} must be a number, meet error=stoll"))
}

pub fn set_value(call: Call) -> Checked {
    Box::pin(async move {
        keys::wanted_value(&call.query)?;
        let key_type = call.query.text("key_type");
        let value = match key_type.as_str() {
            "InstanceKey" => proto_json::parse(&call.body, &InstanceInfoPb::full_name()).err(),
            "StorageVaultKey" => proto_json::parse(&call.body, &StorageVaultPb::full_name()).err(),
            _ => None,
        };
        match value {
            // The parser's text could quote a secret of the value, and upstream's has none of it.
            Some(_) => Err(MetaError::invalid(format!(
                "invalid input json value, cannot parse json to pb, key_type={key_type}"
            ))),
            None => Ok(()),
        }
    })
}

pub fn get_tablet_stats(call: Call) -> Checked {
    Box::pin(async move {
        let request: GetTabletStatsRequest = call.parse_body()?;
        // Somebody's, but whether there is such an instance is not asked.
        require_instance(&call, request.cloud_unique_id()).await
    })
}

pub fn fix_tablet_stats(call: Call) -> Checked {
    Box::pin(async move {
        let table_id = call.query.text("table_id");
        if !is_number(&table_id) {
            return Err(MetaError::invalid(format!("Invalid table_id, table_id: {table_id}")));
        }
        require_instance(&call, &call.query.text("cloud_unique_id")).await
    })
}

pub fn fix_tablet_db_id(call: Call) -> Checked {
    Box::pin(async move {
        for name in ["db_id", "tablet_id"] {
            let given = call.query.text(name);
            if !is_number(&given) {
                return Err(not_a_number(ErrorCode::InvalidArgument, name, &given));
            }
        }
        Ok(())
    })
}

pub fn txn_lazy_commit(call: Call) -> Checked {
    Box::pin(async move {
        let (instance_id, txn_id) = (call.query.text("instance_id"), call.query.text("txn_id"));
        if instance_id.is_empty() || txn_id.is_empty() {
            return Err(MetaError::invalid("instance_id or txn_id is empty"));
        }
        match is_number(&txn_id) {
            true => Ok(()),
            // An internal error upstream: here one about something that is not there.
            false => Err(not_a_number(ErrorCode::KeyMissing, "txn_id", &txn_id)),
        }
    })
}

pub fn abort_txn(call: Call) -> Checked {
    Box::pin(async move {
        let request: AbortTxnRequest = call.parse_body()?;
        let (db_id, txn_id) = (request.db_id.unwrap_or(-1), request.txn_id.unwrap_or(-1));
        let label = request.label();
        if txn_id < 0 && (label.is_empty() || db_id < 0) {
            let text = format!("invalid txn id and label, db_id={db_id} txn_id={txn_id} label={label}");
            return Err(MetaError::invalid(text));
        }
        let given = request.cloud_unique_id();
        if instance_of(&call, given).await?.is_empty() {
            let given = if given.is_empty() { "(empty)" } else { given };
            let text = format!("cannot find instance_id with cloud_unique_id={given} label={label} txn_id={txn_id}");
            return Err(MetaError::invalid(text));
        }
        Ok(())
    })
}

pub fn abort_tablet_job(call: Call) -> Checked {
    Box::pin(async move {
        let request: FinishTabletJobRequest = call.parse_body()?;
        let given = request.cloud_unique_id();
        if instance_of(&call, given).await?.is_empty() {
            return Err(MetaError::invalid(format!("cannot find instance_id with cloud_unique_id={given}")));
        }
        let job = request.job.unwrap_or_default();
        if job.compaction.is_empty() && job.schema_change.is_none() {
            return Err(MetaError::invalid("no valid job specified"));
        }
        match job.idx.unwrap_or_default().tablet_id() > 0 {
            true => Ok(()),
            false => Err(MetaError::invalid("no valid tablet_id given")),
        }
    })
}

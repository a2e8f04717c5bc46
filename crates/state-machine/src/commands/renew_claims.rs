//! Shows that a worker's claims are alive, and how far they are. Answers those that are not its own any more.

use super::claim_tasks::check_worker;
use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::jobs::{rows, tasks};
use crate::record::TaskRecord;
use quorate_model::MetaError;
use quorate_wire::quorate::v1::{ClaimProgress, RenewClaimsReply, RenewClaimsRequest};
use std::collections::BTreeSet;

/// Claims one command renews: what a worker of 16 tasks at once can have, several times over.
const MAX_RENEWALS: usize = 256;

#[derive(Clone, PartialEq, prost::Message)]
pub struct RenewClaims {
    #[prost(string, tag = "1")]
    pub worker: String,
    #[prost(message, repeated, tag = "2")]
    pub claims: Vec<ClaimProgress>,
}

impl Prepare for RenewClaims {
    type Request = RenewClaimsRequest;

    fn prepare(request: RenewClaimsRequest, _context: &PrepareContext<'_>) -> Result<RenewClaims, MetaError> {
        check_worker(&request.worker)?;
        if request.claims.len() > MAX_RENEWALS {
            let count = request.claims.len();
            return Err(MetaError::invalid(format!("{count} claims to renew, limit {MAX_RENEWALS}; renew them in parts")));
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = request.claims.iter().find(|claim| !seen.insert((claim.job_id, claim.task))) {
            return Err(MetaError::invalid(format!(
                "task {} of job {} is named twice; renew it once",
                twice.task, twice.job_id
            )));
        }
        Ok(RenewClaims {
            worker: request.worker,
            claims: request.claims,
        })
    }
}

impl Command for RenewClaims {
    type Reply = RenewClaimsReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<RenewClaimsReply, ApplyError> {
        let mut lost = Vec::new();
        for claim in &self.claims {
            let found = tasks::reported(context, claim.job_id, claim.task, claim.fence)?;
            let Some(held) = found.filter(|held| held.task.worker == self.worker) else {
                lost.push(*claim);
                continue;
            };
            let expected = held.task.expected.unwrap_or_default();
            let renewed = TaskRecord {
                renewals: held.task.renewals + 1,
                files_done: claim.files_done.min(expected.files),
                bytes_done: claim.bytes_done.min(expected.bytes),
                ..held.task
            };
            context.put_record(rows::task(claim.job_id, claim.task), &renewed);
        }
        Ok(RenewClaimsReply { lost })
    }
}

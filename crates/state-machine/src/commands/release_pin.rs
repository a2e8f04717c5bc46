//! Ends a pin or a hold. Releasing one that is gone succeeds.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::versioned::pins::{self, PinKind};
use quorate_model::{MetaError, Revision, ScopeId};

#[derive(Clone, PartialEq, prost::Message)]
pub struct ReleasePin {
    #[prost(uint64, tag = "1")]
    pub scope: u64,
    #[prost(enumeration = "PinKind", tag = "2")]
    pub kind: i32,
    #[prost(uint64, tag = "3")]
    pub revision: u64,
    /// As `create_pin` answered; the holder for a hold.
    #[prost(uint64, tag = "4")]
    pub pin: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ReleasePinReply {
    #[prost(bool, tag = "1")]
    pub existed: bool,
}

impl Prepare for ReleasePin {
    /// Made by other parts of a peer, not by a call of the public API.
    type Request = ReleasePin;

    fn prepare(request: ReleasePin, _context: &PrepareContext<'_>) -> Result<ReleasePin, MetaError> {
        request.check()?;
        Ok(request)
    }
}

impl ReleasePin {
    fn check(&self) -> Result<PinKind, MetaError> {
        match PinKind::try_from(self.kind) {
            Ok(kind) if kind != PinKind::Unspecified => Ok(kind),
            _ => Err(MetaError::invalid(format!("pin kind {} is unknown", self.kind))),
        }
    }
}

impl Command for ReleasePin {
    type Reply = ReleasePinReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<ReleasePinReply, ApplyError> {
        let kind = self.check()?;
        let existed = pins::end(context, kind, ScopeId(self.scope), Revision(self.revision), self.pin)?;
        Ok(ReleasePinReply { existed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::CreatePin;
    use crate::keys::space;
    use crate::testing::Bench;
    use quorate_model::ErrorCode;

    #[test]
    fn releasing_leaves_no_row_and_repeating_it_changes_nothing() {
        let mut bench = Bench::new();
        for (kind, lifetime_ms, holder) in [(PinKind::Snapshot, 0, 0), (PinKind::Read, 60_000, 0), (PinKind::Hold, 0, 5)] {
            let create = CreatePin {
                scope: 1,
                kind: kind as i32,
                lifetime_ms,
                holder,
                ..CreatePin::default()
            };
            let pin = bench.run(&create).expect("create");
            let release = ReleasePin {
                scope: 1,
                kind: kind as i32,
                revision: pin.revision,
                pin: pin.pin,
            };
            assert!(bench.run(&release).expect("release").existed);
            let left = bench.store.rows.keys().filter(|key| key[0] >= space::CLEANUP).count();
            assert_eq!(left, 0, "{kind:?}");
            let before = bench.machine.revision();
            assert!(!bench.run(&release).expect("again").existed);
            assert_eq!(bench.machine.revision(), before);
        }
        assert_eq!(bench.counters().pins, 0);
        assert_eq!(
            bench.refusal(&ReleasePin {
                scope: 1,
                ..ReleasePin::default()
            }),
            ErrorCode::InvalidArgument
        );
    }
}

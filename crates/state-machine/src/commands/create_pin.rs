//! Pins a revision of a scope: what was visible there stays readable until the pin is released or expires.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::limits;
use crate::versioned::{
    self,
    pins::{self, PinKind},
};
use quorate_model::{MetaError, Revision, ScopeId};

#[derive(Clone, PartialEq, prost::Message)]
pub struct CreatePin {
    #[prost(uint64, tag = "1")]
    pub scope: u64,
    #[prost(enumeration = "PinKind", tag = "2")]
    pub kind: i32,
    /// 0: this command's own revision, that is, the state as it is.
    #[prost(uint64, tag = "3")]
    pub revision: u64,
    /// The pin ends by itself this long after the stamped time of its creation; 0: it must be released.
    #[prost(uint64, tag = "4")]
    pub lifetime_ms: u64,
    /// Holds only: the scope whose rows name this scope's files.
    #[prost(uint64, tag = "5")]
    pub holder: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct CreatePinReply {
    /// For `release_pin`; the holder for a hold.
    #[prost(uint64, tag = "1")]
    pub pin: u64,
    #[prost(uint64, tag = "2")]
    pub revision: u64,
    /// Stamped time; 0 when it must be released.
    #[prost(uint64, tag = "3")]
    pub expires_ms: u64,
}

impl Prepare for CreatePin {
    /// Made by other parts of a peer, not by a call of the public API.
    type Request = CreatePin;

    fn prepare(request: CreatePin, _context: &PrepareContext<'_>) -> Result<CreatePin, MetaError> {
        request.check()?;
        Ok(request)
    }
}

impl CreatePin {
    /// Refuses what is wrong whatever the state is.
    fn check(&self) -> Result<PinKind, MetaError> {
        let kind = PinKind::try_from(self.kind).unwrap_or(PinKind::Unspecified);
        if self.scope == 0 {
            return Err(MetaError::invalid(
                "pin names scope 0, which owns nothing; name the instance's scope",
            ));
        }
        match kind {
            PinKind::Unspecified => Err(MetaError::invalid(format!("pin kind {} is unknown", self.kind))),
            PinKind::Hold if self.holder == 0 => Err(MetaError::invalid("a hold needs its holder's scope")),
            PinKind::Hold if self.lifetime_ms != 0 => Err(MetaError::invalid("a hold does not expire; release it")),
            PinKind::Read if self.lifetime_ms == 0 || self.lifetime_ms > limits::MAX_READ_PIN_MS => {
                let message = format!(
                    "a read pin lives {} ms, allowed are 1 to {}",
                    self.lifetime_ms,
                    limits::MAX_READ_PIN_MS
                );
                Err(MetaError::invalid(message))
            }
            kind => Ok(kind),
        }
    }
}

impl Command for CreatePin {
    type Reply = CreatePinReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<CreatePinReply, ApplyError> {
        let kind = self.check()?;
        let scope = ScopeId(self.scope);
        let revision = if self.revision == 0 {
            context.revision()
        } else {
            Revision(self.revision)
        };
        if self.revision != 0 {
            versioned::readable_with(context.reader(), &context.counters, scope, revision)?;
        }
        if kind == PinKind::Hold {
            pins::begin_hold(context, scope, revision, self.holder)?;
            return Ok(CreatePinReply {
                pin: self.holder,
                revision: revision.0,
                expires_ms: 0,
            });
        }
        let expires_ms = match self.lifetime_ms {
            0 => 0,
            lifetime_ms => context.now().0.saturating_add(lifetime_ms),
        };
        let pin = pins::begin(context, kind, scope, revision, expires_ms)?;
        Ok(CreatePinReply {
            pin,
            revision: revision.0,
            expires_ms,
        })
    }
}

#[cfg(test)]
mod tests;

//! Workers of jobs are killed, or paused beyond their lease: a zombie then reports what somebody else has done meanwhile.

use super::modes::Modes;
use super::{Nemesis, Outcome};
use crate::field::Field;
use crate::seeded::Random;
use async_trait::async_trait;
use std::time::Duration;

/// A stopped process shows as such within this.
const STANDS: Duration = Duration::from_secs(5);

pub struct Workers {
    modes: Modes,
    mode: &'static str,
    which: Option<usize>,
}

impl Workers {
    pub fn new(modes: Modes) -> Workers {
        Workers {
            modes,
            mode: "",
            which: None,
        }
    }
}

#[async_trait(?Send)]
impl Nemesis for Workers {
    async fn start(&mut self, field: &Field, random: &mut Random) -> anyhow::Result<Outcome> {
        self.mode = self.modes.next(random);
        let which = random.below(field.workers() as u64) as usize;
        let Some(before) = field.worker_state(which) else {
            self.modes.put_back(self.mode);
            return Ok(Outcome::skipped(format!("worker {} does not run", which + 1)));
        };
        self.which = Some(which);
        match self.mode {
            "kill" => field.kill_worker(which).await?,
            _ => field.pause_worker(which).await?,
        }
        let stopped = self.mode != "pause" || {
            let stands = field.wait_for("the worker stands", STANDS, async || {
                (field.worker_state(which) == Some('T')).then_some(())
            });
            stands.await.is_ok()
        };
        if !stopped {
            return Ok(Outcome::Indeterminate {
                why: format!("worker {} does not stand", which + 1),
            });
        }
        let after = field
            .worker_state(which)
            .map_or("gone".to_owned(), |state| format!("in state {state}"));
        let evidence = format!("worker {} was in state {before}, is {after}", which + 1);
        Ok(Outcome::installed(self.mode, field, &[], evidence))
    }

    async fn stop(&mut self, field: &Field, _: &mut Random) -> anyhow::Result<String> {
        let Some(which) = self.which.take() else {
            return Ok("nothing was done".to_owned());
        };
        match self.mode {
            "kill" => field.start_worker(which).await?,
            _ => field.resume_worker(which).await?,
        }
        Ok(format!("worker {} goes on", which + 1))
    }
}

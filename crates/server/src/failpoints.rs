//! Arming failpoints, in builds with the feature: from the environment at start, or at run time over HTTP.
//!
//! `FAILPOINTS="log_sync_group=3*off->panic;log_purge_before=return(ENOSPC)"`: at the fourth hit of the first site the process
//! dies; the second returns an error at every hit. The syntax of the actions is that of the `fail` crate.

use quorate_consensus::failpoints;
use quorate_storage::log::{BeforeStep, Step, Verdict};
use std::io;
use std::sync::Arc;

/// Arms what the variable `FAILPOINTS` names. From here on a panic ends the process at once, as in a release: dying in the
/// middle of a step is what the sites are for.
pub fn arm_from_environment() -> Result<(), String> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        hook(panic);
        std::process::abort();
    }));
    std::env::var("FAILPOINTS").map_or(Ok(()), |list| arm(&list))
}

/// Arms `site=actions`, several separated by semicolons. A name that no site has is accepted and never hit.
pub fn arm(list: &str) -> Result<(), String> {
    for item in list.split(';').map(str::trim).filter(|item| !item.is_empty()) {
        let (site, actions) = item.split_once('=').ok_or_else(|| format!("\"{item}\" is not site=actions"))?;
        fail::cfg(site.trim(), actions.trim()).map_err(|error| format!("failpoint {site}: {error}"))?;
    }
    Ok(())
}

/// Stands in front of every step of the log.
pub fn before_log_step() -> BeforeStep {
    Arc::new(|step| stand_in_front(step).map(|()| Verdict::Run))
}

/// One arm a step: the name of a site is part of its call.
fn stand_in_front(step: Step) -> io::Result<()> {
    match step {
        Step::WriteGroup => fail::fail_point!("log_write_group", failpoints::fail),
        Step::SyncGroup => fail::fail_point!("log_sync_group", failpoints::fail),
        Step::PrepareSegment => fail::fail_point!("log_prepare_segment", failpoints::fail),
        Step::WriteSegmentHeader => fail::fail_point!("log_write_segment_header", failpoints::fail),
        Step::NameSegment => fail::fail_point!("log_name_segment", failpoints::fail),
        Step::WriteHighWater => fail::fail_point!("log_write_high_water", failpoints::fail),
        Step::UnlinkSegment => fail::fail_point!("log_unlink_segment", failpoints::fail),
    }
    Ok(())
}

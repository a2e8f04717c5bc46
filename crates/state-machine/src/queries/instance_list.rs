//! The instances of the cluster, by id.
//!
//! Instances are plain rows without a past, so each page is of the moment it is read at; a list of several pages shows every
//! instance that was there all the while. The page token is the last id that was looked at.

use super::QueryError;
use crate::command::read_record;
use crate::instances::Instance;
use crate::keys::COUNTERS_KEY;
use crate::record::Counters;
use crate::store::{Reader, StoreError, prefix_end};
use crate::versioned::lineage;
use crate::{clusters, instances, limits, snapshots, text_bounds};
use quorate_model::{MetaError, Revision, ScopeId};
use quorate_wire::doris::instance_info_pb::Status;
use quorate_wire::quorate::v1::{CloneSummary, InstanceSummary, ListInstancesReply, ListInstancesRequest, instance_summary};

/// One page. Counting clusters costs a row each: a page ends early rather than look at more than its bound.
pub fn list_instances(reader: &dyn Reader, request: &ListInstancesRequest) -> Result<ListInstancesReply, QueryError> {
    text_bounds::check_text("prefix", &request.prefix)?;
    let rows_max = match request.page_size as usize {
        0 => limits::MAX_PAGE_ROWS,
        rows => rows.min(limits::MAX_PAGE_ROWS),
    };
    let prefix = instances::keys_by_prefix(&request.prefix);
    let mut cursor = reader.cursor(&prefix, &prefix_end(&prefix))?;
    if !request.page_token.is_empty() {
        let after = instances::key_after(&parse_token(&request.page_token)?);
        if after.as_slice() > prefix.as_ref() {
            cursor.seek(&after)?;
        }
    }
    let mut page = ListInstancesReply {
        revision: read_record::<Counters>(reader, COUNTERS_KEY)?.unwrap_or_default().revision,
        ..ListInstancesReply::default()
    };
    let mut rows_seen = 0;
    let mut last_id = String::new();
    while let Some((key, value)) = cursor.row() {
        if page.instances.len() == rows_max || rows_seen >= limits::MAX_PAGE_KEYS {
            page.next_page_token = token(&last_id);
            break;
        }
        let instance = instances::from_row(key, value)?;
        rows_seen += 1;
        last_id = instance.info.instance_id().to_owned();
        if request.include_dropped || !instance.is_dropped() {
            let summary = summary(reader, &instance)?;
            rows_seen += summary.clusters as usize;
            page.instances.push(summary);
        }
        cursor.next()?;
    }
    Ok(page)
}

fn summary(reader: &dyn Reader, instance: &Instance) -> Result<InstanceSummary, StoreError> {
    let status = match instance.info.status() {
        _ if instance.is_dropped() => instance_summary::Status::Dropped,
        Status::Overdue => instance_summary::Status::Overdue,
        Status::Normal | Status::Deleted => instance_summary::Status::Normal,
    };
    let clusters = clusters::count(reader, instance.scope)?;
    Ok(InstanceSummary {
        instance_id: instance.info.instance_id().to_owned(),
        name: instance.info.name().to_owned(),
        status: status as i32,
        clusters: u32::try_from(clusters).unwrap_or(u32::MAX),
        clone: clone_summary(reader, instance)?,
    })
}

/// What an instance is a clone of, as long as it has anything to do with its source.
fn clone_summary(reader: &dyn Reader, instance: &Instance) -> Result<Option<CloneSummary>, StoreError> {
    let Some(parent) = lineage::parent(reader, instance.scope)? else {
        return Ok(None);
    };
    let decoupled = instance.info.source_instance_id().is_empty();
    if decoupled && !parent.holds_files {
        return Ok(None);
    }
    Ok(Some(CloneSummary {
        source_instance_id: instances::find_id_of_scope(reader, ScopeId(parent.source_scope))?.unwrap_or_default(),
        source_snapshot_id: snapshots::id::text(Revision(parent.source_revision)),
        compacted: parent.base_complete,
        decoupled,
        holds_files: parent.holds_files,
        compaction_job: parent.job,
    }))
}

fn token(last_id: &str) -> String {
    last_id.bytes().map(|byte| format!("{byte:02x}")).collect()
}

fn parse_token(text: &str) -> Result<String, MetaError> {
    let refused = || MetaError::invalid("page token is malformed; pass it as the page before returned it, or list anew");
    if !text.is_ascii() || !text.len().is_multiple_of(2) || text.len() > 2 * limits::MAX_TEXT_BYTES {
        return Err(refused());
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let pairs = text.as_bytes().chunks_exact(2);
    let bytes: Option<Vec<u8>> = pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect();
    String::from_utf8(bytes.ok_or_else(refused)?).map_err(|_| refused())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::{AddCluster, DropInstance, SetInstanceStatus};
    use crate::resource_fixture::{World, backend, cluster, on_instance, refusal};
    use quorate_model::ErrorCode;
    use quorate_wire::doris::AlterInstanceRequest;
    use quorate_wire::doris::cluster_pb::Type;

    /// Instances i (one cluster), j, ja (overdue), k (dropped).
    fn world() -> World {
        let mut world = World::with_instance();
        for id in ["j", "ja", "k"] {
            world.create(id);
        }
        let nodes = vec![backend("1:i:n", "10.0.0.1")];
        world
            .run::<AddCluster>(on_instance(cluster(Type::Compute, "a", nodes)))
            .expect("added");
        let on = |id: &str, op| AlterInstanceRequest {
            instance_id: Some(id.to_owned()),
            op: Some(op as i32),
            ..AlterInstanceRequest::default()
        };
        use quorate_wire::doris::alter_instance_request::Operation;
        world.run::<DropInstance>(on("k", Operation::Drop)).expect("dropped");
        world.run::<SetInstanceStatus>(on("ja", Operation::SetOverdue)).expect("overdue");
        world
    }

    fn listed(world: &World, request: &ListInstancesRequest) -> Vec<String> {
        let page = list_instances(&world.store, request).expect("listed");
        let shown = page.instances.iter().map(|shown| {
            let status = shown.status();
            format!("{} {status:?} {}", shown.instance_id, shown.clusters)
        });
        shown.collect()
    }

    #[test]
    fn instances_are_listed_with_status_and_clusters_and_dropped_ones_when_asked_for() {
        let world = world();
        let mut request = ListInstancesRequest::default();
        assert_eq!(listed(&world, &request), ["i Normal 1", "j Normal 0", "ja Overdue 0"]);
        request.prefix = "j".to_owned();
        assert_eq!(listed(&world, &request), ["j Normal 0", "ja Overdue 0"]);
        request.prefix = "k".to_owned();
        assert_eq!(listed(&world, &request), [""; 0]);
        request.include_dropped = true;
        assert_eq!(listed(&world, &request), ["k Dropped 0"]);
    }

    #[test]
    fn pages_of_any_size_show_every_instance_once() {
        let world = world();
        for page_size in 1..=4 {
            let mut request = ListInstancesRequest {
                page_size,
                ..ListInstancesRequest::default()
            };
            let mut ids = Vec::new();
            loop {
                let page = list_instances(&world.store, &request).expect("a page");
                assert!(page.instances.len() <= page_size as usize);
                assert_eq!(
                    page.revision,
                    list_instances(&world.store, &ListInstancesRequest::default())
                        .expect("listed")
                        .revision
                );
                ids.extend(page.instances.into_iter().map(|instance| instance.instance_id));
                if page.next_page_token.is_empty() {
                    break;
                }
                request.page_token = page.next_page_token;
            }
            assert_eq!(ids, ["i", "j", "ja"], "{page_size}");
        }
    }

    #[test]
    fn a_token_of_another_list_neither_skips_the_prefix_nor_leaves_it() {
        let world = world();
        let with_token = |prefix: &str, last: &str| ListInstancesRequest {
            prefix: prefix.to_owned(),
            page_token: token(last),
            ..ListInstancesRequest::default()
        };
        assert_eq!(listed(&world, &with_token("j", "a")).len(), 2);
        assert_eq!(listed(&world, &with_token("j", "j")), ["ja Overdue 0"]);
        assert_eq!(listed(&world, &with_token("j", "z")), [""; 0]);
    }

    #[test]
    fn a_malformed_token_is_refused() {
        let world = world();
        for page_token in ["x", "6", "zz", "ff", &"61".repeat(limits::MAX_TEXT_BYTES + 1)] {
            let request = ListInstancesRequest {
                page_token: page_token.to_owned(),
                ..ListInstancesRequest::default()
            };
            let error = refusal(list_instances(&world.store, &request).expect_err("refused"));
            assert_eq!(error.code, ErrorCode::InvalidArgument, "{page_token}");
        }
    }
}

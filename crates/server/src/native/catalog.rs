//! `quorate.v1.Catalog`: databases, collections, partitions and segments.

use super::call::{Calls, at_one_revision, before_read, decide};
use super::reply::CallInfo;
use super::vaults::{check_unused, described, scope_with_vault, vault_error};
use crate::app::App;
use crate::jobs::PeerVaults;
use quorate_consensus::Node;
use quorate_state_machine::command::Prepare;
use quorate_state_machine::commands::{
    AbandonDeletions, AbortSegments, CommitSegments, CreateCollection, CreateDatabase, CreatePartition, DropCollection, DropDatabase,
    DropPartition, DropSegments, Numbered, PrepareSegments, RenameCollection, RenameDatabase, RenamePartition,
};
use quorate_state_machine::queries::files::{self, KnownFiles, KnownKind};
use quorate_state_machine::queries::page_token::ListPage;
use quorate_state_machine::queries::{QueryError, catalog, catalog_lists, deletions, manifests};
use quorate_state_machine::{Reader, commands::CreatePin};
use quorate_wire::quorate::v1 as wire;
use std::sync::Arc;
use tonic::{Request, Response, Status};

/// Serves the calls of one peer.
pub struct CatalogService {
    calls: Calls,
}

impl CatalogService {
    pub fn new(app: &Arc<App>) -> CatalogService {
        CatalogService { calls: Calls::new(app) }
    }
}

/// A list's query as `Calls::list` takes it.
fn paged<Req, Rep>(
    list: impl Fn(&dyn Reader, &Req) -> Result<ListPage<Rep>, QueryError>,
) -> impl Fn(&dyn Reader, &Req) -> Result<(Rep, Option<CreatePin>), QueryError> {
    move |reader, request| {
        let page = list(reader, request)?;
        Ok((page.reply, page.pin))
    }
}

#[tonic::async_trait]
impl wire::catalog_server::Catalog for CatalogService {
    async fn create_database(&self, request: Request<wire::CreateDatabaseRequest>) -> Result<Response<wire::Database>, Status> {
        self.calls.write::<CreateDatabase>(request).await
    }

    async fn rename_database(&self, request: Request<wire::RenameDatabaseRequest>) -> Result<Response<wire::Database>, Status> {
        self.calls.write::<RenameDatabase>(request).await
    }

    async fn drop_database(&self, request: Request<wire::DropDatabaseRequest>) -> Result<Response<wire::DropReply>, Status> {
        self.calls.write::<DropDatabase>(request).await
    }

    async fn create_collection(&self, request: Request<wire::CreateCollectionRequest>) -> Result<Response<wire::Collection>, Status> {
        self.calls.write::<CreateCollection>(request).await
    }

    async fn rename_collection(&self, request: Request<wire::RenameCollectionRequest>) -> Result<Response<wire::Collection>, Status> {
        self.calls.write::<RenameCollection>(request).await
    }

    async fn drop_collection(&self, request: Request<wire::DropCollectionRequest>) -> Result<Response<wire::DropReply>, Status> {
        self.calls.write::<DropCollection>(request).await
    }

    async fn create_partition(&self, request: Request<wire::CreatePartitionRequest>) -> Result<Response<wire::Partition>, Status> {
        self.calls.write::<CreatePartition>(request).await
    }

    async fn rename_partition(&self, request: Request<wire::RenamePartitionRequest>) -> Result<Response<wire::Partition>, Status> {
        self.calls.write::<RenamePartition>(request).await
    }

    async fn drop_partition(&self, request: Request<wire::DropPartitionRequest>) -> Result<Response<wire::DropReply>, Status> {
        self.calls.write::<DropPartition>(request).await
    }

    async fn prepare_segments(
        &self,
        request: Request<wire::PrepareSegmentsRequest>,
    ) -> Result<Response<wire::PrepareSegmentsReply>, Status> {
        self.calls.write::<PrepareSegments>(request).await
    }

    async fn commit_segments(&self, request: Request<wire::CommitSegmentsRequest>) -> Result<Response<wire::CommitSegmentsReply>, Status> {
        self.calls.write::<CommitSegments>(request).await
    }

    async fn abort_segments(&self, request: Request<wire::AbortSegmentsRequest>) -> Result<Response<wire::AbortSegmentsReply>, Status> {
        self.calls.write::<AbortSegments>(request).await
    }

    async fn drop_segments(&self, request: Request<wire::DropSegmentsRequest>) -> Result<Response<wire::DropSegmentsReply>, Status> {
        self.calls.write::<DropSegments>(request).await
    }

    async fn describe_database(&self, request: Request<wire::DescribeDatabaseRequest>) -> Result<Response<wire::Database>, Status> {
        let consistency = wire::DescribeDatabaseRequest::consistency;
        self.calls
            .read("describe_database", request, consistency, catalog::describe_database)
            .await
    }

    async fn describe_collection(&self, request: Request<wire::DescribeCollectionRequest>) -> Result<Response<wire::Collection>, Status> {
        let consistency = wire::DescribeCollectionRequest::consistency;
        self.calls
            .read("describe_collection", request, consistency, catalog::describe_collection)
            .await
    }

    async fn describe_partition(&self, request: Request<wire::DescribePartitionRequest>) -> Result<Response<wire::Partition>, Status> {
        let consistency = wire::DescribePartitionRequest::consistency;
        self.calls
            .read("describe_partition", request, consistency, catalog::describe_partition)
            .await
    }

    async fn describe_segment(&self, request: Request<wire::DescribeSegmentRequest>) -> Result<Response<wire::Segment>, Status> {
        let consistency = wire::DescribeSegmentRequest::consistency;
        self.calls
            .read("describe_segment", request, consistency, catalog::describe_segment)
            .await
    }

    async fn list_databases(&self, request: Request<wire::ListDatabasesRequest>) -> Result<Response<wire::ListDatabasesReply>, Status> {
        let consistency = wire::ListDatabasesRequest::consistency;
        self.calls
            .list("list_databases", request, consistency, paged(catalog_lists::list_databases))
            .await
    }

    async fn list_collections(
        &self,
        request: Request<wire::ListCollectionsRequest>,
    ) -> Result<Response<wire::ListCollectionsReply>, Status> {
        let consistency = wire::ListCollectionsRequest::consistency;
        self.calls
            .list("list_collections", request, consistency, paged(catalog_lists::list_collections))
            .await
    }

    async fn list_partitions(&self, request: Request<wire::ListPartitionsRequest>) -> Result<Response<wire::ListPartitionsReply>, Status> {
        let consistency = wire::ListPartitionsRequest::consistency;
        self.calls
            .list("list_partitions", request, consistency, paged(catalog_lists::list_partitions))
            .await
    }

    async fn list_segments(&self, request: Request<wire::ListSegmentsRequest>) -> Result<Response<wire::ListSegmentsReply>, Status> {
        let consistency = wire::ListSegmentsRequest::consistency;
        self.calls
            .list("list_segments", request, consistency, paged(catalog_lists::list_segments))
            .await
    }

    async fn describe_vault(&self, request: Request<wire::DescribeVaultRequest>) -> Result<Response<wire::VaultDescription>, Status> {
        let app = self.calls.app.clone();
        let work = |node: Node, request: wire::DescribeVaultRequest, info: CallInfo| async move {
            before_read(&node, request.consistency(), &info).await?;
            let (revision, scope) = at_one_revision(&node, |reader| scope_with_vault(reader, &request.instance_id, &request.vault))?;
            let place = PeerVaults::new(&app, &node).place(scope.0, &request.vault).map_err(vault_error)?;
            Ok((revision, described(&place)))
        };
        self.calls.around("describe_vault", request, work).await
    }

    async fn scan_vault(&self, request: Request<wire::ScanVaultRequest>) -> Result<Response<wire::ScanVaultReply>, Status> {
        let scan = |reader: &dyn Reader, request: &wire::ScanVaultRequest| {
            let page = files::scan_vault(reader, &request.instance_id, &request.vault, &request.page_token)?;
            Ok(wire::ScanVaultReply {
                known: page.known.into_iter().map(known).collect(),
                next_page_token: page.next_page_token,
            })
        };
        let consistency = wire::ScanVaultRequest::consistency;
        self.calls.read_large("scan_vault", request, consistency, scan).await
    }

    async fn scan_manifests(&self, request: Request<wire::ScanManifestsRequest>) -> Result<Response<wire::ScanManifestsReply>, Status> {
        let consistency = wire::ScanManifestsRequest::consistency;
        self.calls
            .read_large("scan_manifests", request, consistency, manifests::scan_manifests)
            .await
    }

    async fn list_deletions(&self, request: Request<wire::ListDeletionsRequest>) -> Result<Response<wire::ListDeletionsReply>, Status> {
        let consistency = wire::ListDeletionsRequest::consistency;
        self.calls
            .read_large("list_deletions", request, consistency, deletions::list_deletions)
            .await
    }

    async fn abandon_deletions(
        &self,
        request: Request<wire::AbandonDeletionsRequest>,
    ) -> Result<Response<wire::AbandonDeletionsReply>, Status> {
        let app = self.calls.app.clone();
        let work = |node: Node, request: wire::AbandonDeletionsRequest, info: CallInfo| async move {
            let command = AbandonDeletions::prepare(request, &app.prepare_context())?;
            // The pages that follow are of what was decided with the first.
            if command.after.is_none() {
                check_unused(&node, &command.instance_id, &command.vault, &info).await?;
            }
            let (revision, reply) = decide(&node, &command, &info).await?;
            if reply.directories > 0 && !info.dry_run {
                tracing::warn!(
                    by = %command.by, instance = %command.instance_id, vault = %command.vault, directories = reply.directories,
                    files = reply.files, revision = revision.0, "files that were to be deleted are given up as lost"
                );
            }
            Ok((revision, reply))
        };
        self.calls.around(AbandonDeletions::NAME, request, work).await
    }
}

fn known(known: KnownFiles) -> wire::KnownFiles {
    let kind = match known.kind {
        KnownKind::Segment => wire::KnownFilesKind::KnownSegment,
        KnownKind::Upload => wire::KnownFilesKind::KnownUpload,
        KnownKind::Condemned => wire::KnownFilesKind::KnownCondemned,
        KnownKind::Snapshot => wire::KnownFilesKind::KnownSnapshot,
    };
    wire::KnownFiles {
        kind: kind as i32,
        path: known.path,
        files: known.files,
    }
}

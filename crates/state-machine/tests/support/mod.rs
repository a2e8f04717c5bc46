//! What the suites share.

#![allow(dead_code)]

#[path = "../../src/property.rs"]
pub mod property;

#[path = "../../src/testing.rs"]
pub mod testing;

#[path = "../../src/catalog_fixture.rs"]
pub mod catalog_fixture;

use proptest::prelude::*;
use quorate_state_machine::commands::*;
use quorate_state_machine::frame::Frame;
use quorate_state_machine::queries::catalog_lists;
use quorate_state_machine::versioned::pins::PinKind;
use quorate_wire::quorate::v1::{ListPartitionsRequest, Partition};
use testing::{DROPPED, INSTANCE, OTHER_INSTANCE, command_frame};

/// The first page of a collection's partitions at a revision (0: now).
pub fn list_partitions(bench: &testing::Bench, instance: &str, database: &str, collection: &str, at_revision: u64) -> Vec<Partition> {
    let request = ListPartitionsRequest {
        instance_id: instance.to_owned(),
        database: database.to_owned(),
        collection: collection.to_owned(),
        at_revision,
        ..ListPartitionsRequest::default()
    };
    let found = catalog_lists::list_partitions(&bench.store, &request).expect("lists");
    found.reply.partitions
}

pub fn instance_name() -> impl Strategy<Value = String> {
    prop_oneof![8 => Just(INSTANCE), 4 => Just(OTHER_INSTANCE), 1 => Just(DROPPED), 1 => Just("nobody")].prop_map(str::to_owned)
}

/// Few names, so that they meet; some are prefixes of others and some hold bytes that keys escape.
pub fn attribute_name() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "a\0", "a\0b", "ab", "b"]).prop_map(str::to_owned)
}

pub fn pin_kind() -> impl Strategy<Value = PinKind> {
    use PinKind::*;
    prop::sample::select(vec![Snapshot, Clone, Hold, Job, Backup, Read, Read])
}

fn if_revision() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![4 => Just(None), 1 => (0u64..40).prop_map(Some), 1 => Just(Some(0))]
}

fn attribute_command() -> BoxedStrategy<Frame> {
    let put = (
        instance_name(),
        attribute_name(),
        prop::collection::vec(any::<u8>(), 0..5),
        if_revision(),
    )
        .prop_map(|(instance_id, name, value, if_revision)| {
            command_frame(
                0,
                0,
                &PutAttribute {
                    instance_id,
                    name,
                    value: value.into(),
                    if_revision,
                },
            )
        });
    let delete = (instance_name(), attribute_name(), if_revision()).prop_map(|(instance_id, name, if_revision)| {
        command_frame(
            0,
            0,
            &DeleteAttribute {
                instance_id,
                name,
                if_revision,
            },
        )
    });
    let part = (instance_name(), attribute_name(), prop::collection::vec(any::<u8>(), 0..3)).prop_map(|(instance_id, name, suffix)| {
        append_attributes::AppendAttribute {
            instance_id,
            name,
            suffix: suffix.into(),
        }
    });
    let append = prop::collection::vec(part, 0..4).prop_map(|appends| command_frame(0, 0, &AppendAttributes { appends }));
    prop_oneof![4 => put, 2 => delete, 2 => append].boxed()
}

fn pin_command() -> BoxedStrategy<Frame> {
    let lifetime_ms = prop_oneof![Just(0), Just(1), Just(60_000), Just(700_000)];
    let create = (0u64..4, pin_kind(), 0u64..60, lifetime_ms, 0u64..3).prop_map(|(scope, kind, revision, lifetime_ms, holder)| {
        let revision = if revision < 20 { 0 } else { revision - 10 };
        command_frame(
            0,
            0,
            &CreatePin {
                scope,
                kind: kind as i32,
                revision,
                lifetime_ms,
                holder,
            },
        )
    });
    let release = (1u64..3, pin_kind(), 10u64..50, 1u64..6).prop_map(|(scope, kind, revision, pin)| {
        command_frame(
            0,
            0,
            &ReleasePin {
                scope,
                kind: kind as i32,
                revision,
                pin,
            },
        )
    });
    let collect = (0u32..4).prop_map(|max_keys| command_frame(0, 0, &CollectVersions { max_keys }));
    prop_oneof![3 => create, 3 => release, 3 => collect].boxed()
}

fn instance_command() -> BoxedStrategy<Frame> {
    let create = instance_name().prop_map(|instance_id| {
        command_frame(
            0,
            0,
            &CreateInstance {
                instance_id,
                ..CreateInstance::default()
            },
        )
    });
    let drop = instance_name().prop_map(|instance_id| command_frame(0, 0, &DropInstance { instance_id }));
    prop_oneof![create, drop].boxed()
}

/// Ids are given out in order, so small ones are met by commits and drops.
fn catalog_command() -> BoxedStrategy<Frame> {
    let create = instance_name().prop_map(|instance_id| {
        let create = CreateCollection {
            instance_id,
            database: "default".into(),
            name: "c".into(),
            partitions: vec!["p".into()],
            ..CreateCollection::default()
        };
        command_frame(0, 0, &create)
    });
    let prepare = (instance_name(), 1u32..4).prop_map(|(instance_id, count)| {
        let prepare = PrepareSegments {
            instance_id,
            database: "default".into(),
            collection: "c".into(),
            partition: "p".into(),
            count,
        };
        command_frame(0, 0, &prepare)
    });
    let commit = (instance_name(), 4u64..12).prop_map(|(instance_id, segment_id)| {
        let segments = vec![catalog_fixture::content(segment_id)];
        command_frame(0, 0, &CommitSegments { instance_id, segments })
    });
    let drop = instance_name().prop_map(|instance_id| {
        let drop = DropCollection {
            instance_id,
            database: "default".into(),
            name: "c".into(),
            ends_restore: true,
        };
        command_frame(0, 0, &drop)
    });
    let collect = (0u32..4).prop_map(|max_keys| command_frame(0, 0, &CollectDropped { max_keys }));
    let expire = (0u32..4).prop_map(|max_uploads| command_frame(0, 0, &ExpireUploads { max_uploads }));
    prop_oneof![4 => create, 3 => prepare, 4 => commit, 2 => drop, 2 => collect, 1 => expire].boxed()
}

fn session_command() -> BoxedStrategy<Frame> {
    prop_oneof![
        3 => Just(command_frame(0, 0, &OpenSession::default())),
        1 => (1u64..5).prop_map(|session| command_frame(0, 0, &CloseSession { session })),
        1 => (0u64..3).prop_map(|after| command_frame(0, 0, &ExpireSessions { after })),
    ]
    .boxed()
}

/// Any command, in or outside of a session; few sessions and numbers, so that repeats and reuse happen. One in a while
/// does not decode.
pub fn any_frame() -> impl Strategy<Value = Frame> {
    let command =
        prop_oneof![8 => attribute_command(), 4 => pin_command(), 6 => catalog_command(), 3 => session_command(), 1 => instance_command()];
    let request = prop_oneof![2 => Just((0, 0)), 3 => (1u64..5, prop_oneof![1u64..6, 127u64..135])];
    let garbage = prop::bool::weighted(0.03);
    (command, request, garbage).prop_map(|(mut frame, (session, number), garbage)| {
        frame.request.session.0 = session;
        frame.request.number = number;
        if garbage {
            frame.payload = bytes::Bytes::from_static(&[0x0f]);
        }
        frame
    })
}

/// How far the clock moves before an entry: a little, out of a pin's life, of the window, of a session's life.
pub fn clock_step() -> impl Strategy<Value = u64> {
    prop_oneof![6 => 0u64..1_000, 2 => Just(60_000u64), 2 => Just(600_000u64), 1 => Just(3_600_001u64)]
}

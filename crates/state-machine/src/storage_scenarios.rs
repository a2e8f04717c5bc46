//! Storage commands together: random sequences in groups of any size, after which names, ids and rows of vaults are in step
//! and no row holds a secret.

use crate::command::Prepare;
use crate::commands::{
    AddHdfsVault, AddObjInfo, AddS3Vault, AlterIam, AlterObjInfo, AlterS3Vault, DropHdfsVault, Numbered, SetDefaultVault,
    UnsetDefaultVault, UpdateAkSk,
};
use crate::frame::{self, Frame};
use crate::instances;
use crate::keys::RecordTable;
use crate::machine::{EntryInput, EntryKind, Machine, Position};
use crate::resource_fixture::{Rotated, START_SECONDS, World};
use crate::storage_fixture::*;
use crate::storage_request::StorageCall;
use crate::store::MapStore;
use crate::vaults;
use bytes::Bytes;
use proptest::prelude::*;
use quorate_model::{RequestId, StampedTime};
use quorate_wire::doris::{AlterIamRequest, HdfsBuildConf, HdfsVaultInfo, ObjectStoreInfoPb, StorageVaultPb, UpdateAkSkRequest};
use std::collections::BTreeMap;

/// A request that its receiver has prepared, as a frame; by a peer with one root key or with two.
fn prepared<C: Prepare + Numbered>(rotated: bool, request: C::Request) -> Option<Frame> {
    let mut world = World::new();
    if rotated {
        world.secrets = &Rotated;
    }
    let command: C = world.prepare(request).ok()?;
    Some(Frame {
        number: C::NUMBER,
        request: RequestId::default(),
        fingerprints: Vec::new(),
        payload: command.encode_to_vec().into(),
    })
}

/// What a request may say; most of it is left out by most requests.
#[derive(Clone, Debug)]
struct Words {
    instance: String,
    name: String,
    other_name: String,
    ak: String,
    rotated: bool,
    flag: bool,
}

impl Words {
    fn call(&self, mut call: StorageCall) -> StorageCall {
        call.request.cloud_unique_id = Some(format!("1:{}:n", self.instance));
        call.request.set_as_default_storage_vault = Some(self.flag);
        call
    }

    fn store(&self) -> ObjectStoreInfoPb {
        ObjectStoreInfoPb {
            ak: Some(self.ak.clone()),
            ..store(&self.name)
        }
    }

    fn vault(&self) -> StorageVaultPb {
        StorageVaultPb {
            name: Some(self.name.clone()),
            ..Default::default()
        }
    }

    fn hdfs(&self) -> StorageVaultPb {
        StorageVaultPb {
            hdfs_info: Some(HdfsVaultInfo {
                build_conf: Some(HdfsBuildConf {
                    fs_name: text("hdfs://a"),
                    ..Default::default()
                }),
                prefix: None,
            }),
            ..self.vault()
        }
    }

    fn keys(&self) -> ObjectStoreInfoPb {
        ObjectStoreInfoPb {
            ak: Some(self.ak.clone()),
            sk: text(SECRET),
            ..Default::default()
        }
    }

    fn altered(&self) -> StorageVaultPb {
        StorageVaultPb {
            obj_info: Some(self.keys()),
            alter_name: self.flag.then(|| self.other_name.clone()),
            ..self.vault()
        }
    }

    fn frame(&self, kind: u32) -> Option<Frame> {
        let rotated = self.rotated;
        let s3 = || StorageVaultPb {
            obj_info: Some(self.store()),
            ..self.vault()
        };
        match kind {
            0..=3 => prepared::<AddS3Vault>(rotated, self.call(about_vault(s3()))),
            4..=6 => prepared::<AddHdfsVault>(rotated, self.call(about_vault(self.hdfs()))),
            7..=9 => prepared::<DropHdfsVault>(rotated, self.call(about_vault(self.vault()))),
            10..=12 => prepared::<AlterS3Vault>(rotated, self.call(about_vault(self.altered()))),
            13 => prepared::<SetDefaultVault>(rotated, self.call(about_vault(self.vault()))),
            14 => prepared::<UnsetDefaultVault>(rotated, self.call(about_vault(self.vault()))),
            15..=16 => prepared::<AddObjInfo>(rotated, self.call(about(self.store()))),
            17 => {
                let keys = ObjectStoreInfoPb {
                    id: text("1"),
                    ..self.keys()
                };
                prepared::<AlterObjInfo>(rotated, self.call(about(keys)))
            }
            18 => {
                let request = UpdateAkSkRequest {
                    instance_id: Some(self.instance.clone()),
                    internal_bucket_user: vec![user("owner", &self.ak, SECRET)],
                    ..Default::default()
                };
                prepared::<UpdateAkSk>(rotated, request)
            }
            _ => {
                let request = AlterIamRequest {
                    account_id: text("arn"),
                    ak: Some(self.ak.clone()),
                    sk: text(SECRET),
                    request_ip: None,
                };
                prepared::<AlterIam>(rotated, request)
            }
        }
    }
}

fn frame() -> impl Strategy<Value = Option<Frame>> {
    // Instance i keeps its data in object stores, j in vaults.
    let words = ("[ijj]", "[abc]", "[abc]", "[kl]", any::<bool>(), any::<bool>());
    (0u32..20, words).prop_map(|(kind, (instance, name, other_name, ak, rotated, flag))| {
        let words = Words {
            instance,
            name,
            other_name,
            ak,
            rotated,
            flag,
        };
        words.frame(kind)
    })
}

/// Names and ids are in step and unique, every vault has its row and no row lacks its vault, the default exists.
fn check_rows(store: &MapStore) {
    let mut vault_rows = 0;
    for instance_id in ["i", "j"] {
        let instance = instances::find(store, instance_id).expect("reads").expect("exists");
        let info = &instance.info;
        assert_eq!(info.resource_ids.len(), info.storage_vault_names.len());
        let found = vaults::all(store, &instance).expect("every id has its row");
        for (position, vault) in found.iter().enumerate() {
            assert_eq!(vaults::position(info, vault.name()), Some(position), "names are unique and in step");
            assert_eq!(vault.id(), info.resource_ids[position]);
            assert_eq!(vault.hdfs_info.is_some(), vault.obj_info.is_none(), "one thing or the other");
        }
        if let Some(default) = &info.default_storage_vault_id {
            let default = found.iter().find(|vault| vault.id() == default).expect("the default exists");
            assert_eq!(default.name, info.default_storage_vault_name);
        }
        vault_rows += found.len();
    }
    let prefix = crate::keys::record_prefix(RecordTable::Vault);
    assert_eq!(store.rows.keys().filter(|key| key.starts_with(&prefix)).count(), vault_rows);
    assert!(store.rows.values().all(|row| !holds_secret(row)), "a row holds a plain secret");
}

/// Applies each inner list as one group of entries, one frame an entry.
fn apply(store: &MapStore, groups: &[Vec<Frame>]) -> (BTreeMap<Bytes, Bytes>, Vec<crate::Answer>) {
    let (mut store, mut answers, mut index) = (store.clone(), Vec::new(), 100);
    let mut machine = Machine::open(&store).expect("opens");
    for group in groups.iter().filter(|group| !group.is_empty()) {
        let mut entries = Vec::new();
        for frame in group {
            index += 1;
            let time = StampedTime((START_SECONDS as u64 + index) * 1_000);
            let kind = EntryKind::Commands(frame::pack(time, &[frame::encode_frame(frame)]));
            entries.push(EntryInput {
                position: Position { term: 1, peer: 1, index },
                kind,
            });
        }
        let applied = machine.apply_group(&store, &entries).expect("applies");
        store.write(&applied.writes);
        answers.extend(applied.answers.into_iter().flatten());
        check_rows(&store);
    }
    (store.rows, answers)
}

proptest! {
    #[test]
    fn vaults_stay_in_step_and_groups_of_any_size_are_equal(frames in prop::collection::vec(frame(), 1..40), cut in 0usize..40) {
        let mut world = world_with_store();
        world.create("j");
        let store = world.continuing_at(100);
        let frames: Vec<Frame> = frames.into_iter().flatten().collect();
        let cut = cut.min(frames.len());
        let one_by_one: Vec<Vec<Frame>> = frames.iter().map(|frame| vec![frame.clone()]).collect();
        let two_groups = [frames[..cut].to_vec(), frames[cut..].to_vec()];
        prop_assert_eq!(apply(&store, &one_by_one), apply(&store, &two_groups));
    }
}

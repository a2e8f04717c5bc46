//! A state machine over a map for the tests of instances, clusters and nodes: requests go in as their callers send them,
//! through `prepare`, a real frame and `apply_group`.

use crate::command::{ApplyError, Prepare, PrepareContext, PrepareSettings, SealSecret, SealedSecret, SecretMark, read_record};
use crate::commands::{self, CreateInstance, Numbered};
use crate::digest::{self, Digests};
use crate::frame::{self, Frame};
use crate::keys::{self, RecordTable};
use crate::machine::{EntryInput, EntryKind, Machine, Position};
use crate::object_stores::{Secrets, UnsealSecret};
use crate::queries::instances;
use crate::record::InstanceRecord;
use crate::service_account::ConfiguredAccount;
use crate::store::MapStore;
use crate::testing::recording::Recorder;
use bytes::Bytes;
use prost::Message;
use quorate_model::{ErrorCode, MetaError, RequestId, StampedTime};
use quorate_wire::doris::cluster_pb::Type;
use quorate_wire::doris::node_info_pb::NodeType;
use quorate_wire::doris::{AlterClusterRequest, ClusterPb, CreateInstanceRequest, GetInstanceRequest, InstanceInfoPb, NodeInfoPb};
use std::collections::BTreeMap;

/// Stamped time at which a world begins, in seconds.
pub const START_SECONDS: i64 = 1_700_000_000;

/// "Encrypts" by turning the text around: enough to tell ciphertext from plain text.
pub struct Reversed;

impl SealSecret for Reversed {
    fn seal(&self, secret: &str) -> Result<SealedSecret, MetaError> {
        Ok(SealedSecret {
            ciphertext: secret.chars().rev().collect(),
            key_id: 7,
        })
    }

    fn marks_under_older_keys(&self, _: &str) -> Result<Vec<SecretMark>, MetaError> {
        Ok(Vec::new())
    }
}

/// As [`Reversed`] after its key was rotated: the newest one doubles each character instead.
pub struct Rotated;

impl SealSecret for Rotated {
    fn seal(&self, secret: &str) -> Result<SealedSecret, MetaError> {
        Ok(SealedSecret {
            ciphertext: secret.chars().flat_map(|character| [character, character]).collect(),
            key_id: 8,
        })
    }

    fn marks_under_older_keys(&self, secret: &str) -> Result<Vec<SecretMark>, MetaError> {
        let SealedSecret { ciphertext, key_id } = Reversed.seal(secret)?;
        // All but one character: no two secrets of a test end alike for so long.
        let mark = ciphertext.chars().take(ciphertext.chars().count().max(2) - 1).collect();
        Ok(vec![SecretMark { mark, key_id }])
    }
}

impl UnsealSecret for Reversed {
    fn unseal(&self, secret: &SealedSecret) -> Result<String, MetaError> {
        Ok(match secret.key_id {
            7 => secret.ciphertext.chars().rev().collect(),
            8 => secret.ciphertext.chars().step_by(2).collect(),
            other => panic!("no key {other}"),
        })
    }
}

pub struct World {
    machine: Machine,
    pub store: MapStore,
    pub settings: PrepareSettings,
    /// Of the peer that receives the requests.
    pub secrets: &'static dyn SealSecret,
    pub now_seconds: i64,
    index: u64,
    recorder: Recorder,
}

impl World {
    pub fn new() -> World {
        let store = MapStore::default();
        let machine = Machine::open(&store).expect("an empty store opens");
        World {
            machine,
            store,
            settings: PrepareSettings::default(),
            secrets: &Reversed,
            now_seconds: START_SECONDS,
            index: 0,
            recorder: Recorder::new(),
        }
    }

    /// A world in which instance `i` exists.
    pub fn with_instance() -> World {
        let mut world = World::new();
        world.create("i");
        world
    }

    pub fn create(&mut self, instance_id: &str) {
        let request = CreateInstanceRequest {
            instance_id: Some(instance_id.to_owned()),
            ..Default::default()
        };
        let call = commands::create_instance::CreateInstanceCall {
            request,
            ..Default::default()
        };
        self.run::<CreateInstance>(call).expect("the id is free");
    }

    pub fn prepare<C: Prepare>(&self, request: C::Request) -> Result<C, MetaError> {
        C::prepare(
            request,
            &PrepareContext {
                secrets: self.secrets,
                settings: &self.settings,
            },
        )
    }

    /// Sends a request and checks what holds for every one: a refusal changes nothing. Returns how many rows were
    /// written, the counters' and the digests' not counted.
    pub fn run<C: Prepare + Numbered>(&mut self, request: C::Request) -> Result<usize, MetaError> {
        self.execute::<C>(request).map(|(rows, _)| rows)
    }

    /// As [`World::run`], for what the command answers.
    pub fn reply<C: Prepare + Numbered>(&mut self, request: C::Request) -> Result<C::Reply, MetaError> {
        self.execute::<C>(request).map(|(_, reply)| reply)
    }

    fn execute<C: Prepare + Numbered>(&mut self, request: C::Request) -> Result<(usize, C::Reply), MetaError> {
        let before = self.comparable_rows();
        let revision = self.machine.revision();
        let command: C = self.prepare(request)?;
        let result = self.apply(&command);
        if result.is_err() {
            assert_eq!(self.comparable_rows(), before, "a refusal changed the state");
            assert_eq!(self.machine.revision(), revision, "a refusal took a revision");
        }
        result
    }

    /// Applies a command as the log carries it.
    fn apply<C: Numbered>(&mut self, command: &C) -> Result<(usize, C::Reply), MetaError> {
        let frame = Frame {
            number: C::NUMBER,
            request: RequestId::default(),
            fingerprints: Vec::new(),
            payload: command.encode_to_vec().into(),
        };
        let entry = frame::pack(StampedTime(self.now_seconds as u64 * 1_000 + 250), &[frame::encode_frame(&frame)]);
        self.index += 1;
        let input = EntryInput {
            position: Position {
                term: 1,
                peer: 1,
                index: self.index,
            },
            kind: EntryKind::Commands(entry),
        };
        let entries = [input];
        let applied = self.machine.apply_group(&self.store, &entries).expect("the machine goes on");
        self.recorder.tell(&self.store, &entries, &applied);
        self.store.write(&applied.writes);
        let content = digest::recompute_content(&self.store).expect("reads");
        assert_eq!(
            self.machine.digests().content,
            content,
            "the running digest is not that of the rows"
        );
        let body = applied.answers[0][0].body.clone()?;
        let reply = C::Reply::decode(body).expect("a reply decodes");
        Ok((applied.writes.len() - 2, reply))
    }

    /// Asserts code and text of a refusal.
    #[track_caller]
    pub fn refuse<C: Prepare + Numbered>(&mut self, request: C::Request, code: ErrorCode, text: &str) {
        let error = self.run::<C>(request).err().unwrap_or_else(|| panic!("not refused: {text}"));
        assert_eq!((error.code, error.message.as_str()), (code, text));
    }

    /// The instance as get_instance shows it.
    pub fn instance(&self, instance_id: &str) -> InstanceInfoPb {
        let request = GetInstanceRequest {
            instance_id: Some(instance_id.to_owned()),
            ..Default::default()
        };
        instances::get_instance(&self.store, &request, Secrets::Unsealed(&Reversed), &ConfiguredAccount::default()).expect("it exists")
    }

    /// Changes an instance as commands that do not exist yet will.
    pub fn change_instance(&mut self, instance_id: &str, change: impl FnOnce(&mut InstanceInfoPb)) {
        let key = keys::record_by_name(RecordTable::Instance, instance_id.as_bytes());
        let mut record = read_record::<InstanceRecord>(&self.store, &key).expect("reads").expect("exists");
        let mut info = InstanceInfoPb::decode(record.info).expect("decodes");
        change(&mut info);
        record.info = info.encode_to_vec().into();
        self.store.rows.insert(key, record.encode_to_vec().into());
        let content = digest::recompute_content(&self.store).expect("reads");
        let digests = Digests {
            content,
            ..self.machine.digests()
        }
        .to_record();
        self.store
            .rows
            .insert(Bytes::from_static(keys::DIGESTS_KEY), digests.encode_to_vec().into());
        self.machine = Machine::open(&self.store).expect("opens");
    }

    /// The rows, for a machine that goes on with entries after `index`.
    pub fn continuing_at(&self, index: u64) -> MapStore {
        let mut store = self.store.clone();
        let digests = Digests {
            index,
            ..self.machine.digests()
        }
        .to_record();
        store
            .rows
            .insert(Bytes::from_static(keys::DIGESTS_KEY), digests.encode_to_vec().into());
        store
    }

    pub fn rows_of(&self, table: RecordTable) -> usize {
        let prefix = keys::record_prefix(table);
        self.store.rows.keys().filter(|key| key.starts_with(&prefix)).count()
    }

    fn comparable_rows(&self) -> BTreeMap<Bytes, Bytes> {
        let mut rows = self.store.rows.clone();
        // Both change with every entry, also with one whose commands are refused.
        rows.remove(keys::COUNTERS_KEY);
        rows.remove(keys::DIGESTS_KEY);
        rows
    }
}

/// The refusal in an error that must not be about the store.
pub fn refusal(error: ApplyError) -> MetaError {
    match error {
        ApplyError::Refused(error) => error,
        ApplyError::Store(error) => panic!("{error}"),
    }
}

/// A request about a cluster of instance `i`.
pub fn on_instance(cluster: ClusterPb) -> AlterClusterRequest {
    AlterClusterRequest {
        instance_id: Some("i".to_owned()),
        cluster: Some(cluster),
        ..Default::default()
    }
}

pub fn cluster(cluster_type: Type, id: &str, nodes: Vec<NodeInfoPb>) -> ClusterPb {
    ClusterPb {
        cluster_id: Some(id.to_owned()),
        cluster_name: Some(format!("{id}_name")),
        r#type: Some(cluster_type as i32),
        nodes,
        ..Default::default()
    }
}

pub fn backend(unique_id: &str, ip: &str) -> NodeInfoPb {
    NodeInfoPb {
        cloud_unique_id: Some(unique_id.to_owned()),
        ip: Some(ip.to_owned()),
        heartbeat_port: Some(9050),
        ..Default::default()
    }
}

pub fn frontend(unique_id: &str, ip: &str, node_type: NodeType) -> NodeInfoPb {
    NodeInfoPb {
        cloud_unique_id: Some(unique_id.to_owned()),
        ip: Some(ip.to_owned()),
        edit_log_port: Some(9010),
        node_type: Some(node_type as i32),
        ..Default::default()
    }
}

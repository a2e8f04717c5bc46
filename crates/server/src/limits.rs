//! Every bound of the front ends, each with its reason.

use std::time::Duration;

/// Body of one HTTP request, message of one gRPC call: a command is at most 256 KiB, and as JSON a few times that.
pub const MAX_BODY_BYTES: usize = 1 << 20;
/// Message of a native call that takes no place among those in work, and perhaps no token: addresses and ids.
pub const MAX_ADMIN_MESSAGE_BYTES: usize = 64 << 10;
/// A message of a reply that is rendered as JSON where the call is served: no single row is larger, and a larger one takes
/// milliseconds.
pub const MAX_INLINE_REPLY_BYTES: usize = 256 << 10;
/// Public requests in work at once, until their answers are sent; one more gets `too_many_requests`.
pub const MAX_IN_FLIGHT: usize = 4_096;
/// How long a call without a deadline of its own may wait for a leader.
pub const DEFAULT_DEADLINE: Duration = Duration::from_secs(10);
/// How long a call waits for root keys to be compared at a peer that serves: at a start that takes one read. Few calls need them.
pub const RELEASE_WAIT: Duration = Duration::from_secs(1);
/// Longest deadline a caller may ask for.
pub const MAX_DEADLINE: Duration = Duration::from_secs(120);
/// Message of the peer protocol: a hard entry limit of 8 MiB plus its envelope.
pub const MAX_PEER_MESSAGE_BYTES: usize = 9 << 20;
/// Connections on the public port, and no more than half of the files the process may have open.
pub const MAX_CONNECTIONS: usize = 10_000;
/// A peer that may have fewer files open does not start: log, state, the other peers and workers need some hundreds.
pub const MIN_OPEN_FILES: u64 = 1_024;
/// Calls one HTTP/2 connection of the public port may have open: the 128 writes of a session, and as many reads beside them.
pub const MAX_STREAMS: u32 = 256;
/// Pieces in which an answer is given to its connection: what the caller has not taken stays with the call, which keeps its place.
pub const ANSWER_PIECE_BYTES: usize = 16 << 10;
/// What an HTTP/1.1 connection holds of requests that are read and of answers that are sent, each; so also the longest head of a request,
/// or up to half as much again where all of it comes at once. Tokens, names and filters take a few KiB, and HTTP/2 takes heads of 16 KiB.
pub const MAX_HTTP1_BUFFER_BYTES: usize = 32 << 10;
/// Of one answer, bytes that an HTTP/2 connection holds by itself.
pub const MAX_UNSENT_BYTES: usize = 64 << 10;
/// An answer of which nothing is taken for this long ends its connection: it holds memory and a place. A slow caller takes a piece sooner.
pub const UNREAD_TIMEOUT: Duration = Duration::from_secs(60);
/// A connection without a call for this long ends: whoever was never let in could fill the port with such.
pub const IDLE_TIMEOUT: Duration = Duration::from_secs(5 * 60);
/// The same where a call was let in. Clients connect again when they need to.
pub const KNOWN_IDLE_TIMEOUT: Duration = Duration::from_secs(60 * 60);
/// With less than one in so many places for connections left, each new one has an idle one end.
pub const SCARCE_PLACES: usize = 8;
/// Where no place is left, an idle one is looked for at most this often: that goes through all connections.
pub const REFUSED_LOOK: Duration = Duration::from_millis(10);
/// No connection ends for another that was idle for less than this: it may be about to call.
pub const SPARED_IDLE: Duration = Duration::from_secs(10);
/// The same where a call was let in: whoever opens connections and says nothing shall not drive them out.
pub const KNOWN_SPARED_IDLE: Duration = Duration::from_secs(60);
/// How long the caller of an idle connection may take to go, once it was told to.
pub const FAREWELL_TIME: Duration = Duration::from_secs(5);
/// First bytes of a connection must come within this time.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(5);
/// A silent HTTP/2 connection is asked whether it is still there after this long, and broken after as long again.
pub const HTTP2_KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Connections on the peer port: four a peer, some more while one starts, and those of newcomers.
pub const MAX_PEER_CONNECTIONS: usize = 1_024;
/// Of these, connections whose handshake is under way: it costs asymmetric cryptography before the caller is known.
pub const MAX_PEER_HANDSHAKES: usize = 64;
/// And of these from one address: half, because several peers may be one machine's, each with four connections to each other one.
pub const MAX_PEER_HANDSHAKES_OF_ADDRESS: usize = MAX_PEER_HANDSHAKES / 2;
/// How often files of certificates are looked at, at most: at a connection.
pub const TLS_FILES_LOOK: Duration = Duration::from_secs(1);
/// How long a caller that was refused may take to hang up.
pub const TLS_DISMISSAL: Duration = Duration::from_secs(1);
/// Bytes of a body nobody wants that are read and thrown away: the answer of a caller who sends more may be lost.
pub const MAX_DISCARDED_BYTES: usize = 8 << 20;
/// How long that may take.
pub const DISCARD_TIME: Duration = Duration::from_secs(1);
/// How long running calls may take to end at a shutdown.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Longest a worker's question for tasks waits for some.
pub const MAX_WORK_WAIT: Duration = Duration::from_secs(30);
/// A question that waits looks this often even if nothing is applied: a failed task's pause ends by time alone.
pub const WORK_LOOK: Duration = Duration::from_millis(500);
/// Looks are at least this far apart, however much is applied.
pub const WORK_PAUSE: Duration = Duration::from_millis(20);
/// Up to this many segments the creation of a snapshot waits for their manifests too.
pub const AWAITED_MANIFESTS: u64 = 10_000;
/// Part of a caller's time that is kept for the answer when it is spent on waiting.
pub const SNAPSHOT_RESERVE: Duration = Duration::from_millis(500);

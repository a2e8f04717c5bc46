//! A way to a peer on which certain calls get lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What gets lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The peer does not hear of the call.
    Request,
    /// The peer does what it is asked for, and its answer is lost.
    Reply,
    /// The same, and everything that is said from then on.
    ReplyAndAllAfterIt,
}

/// Which calls get lost: those whose body begins with something that contains the mark, but for the first ones.
#[derive(Clone, Copy, Debug)]
pub struct Lost {
    pub mark: &'static str,
    pub spared: usize,
    pub loss: Loss,
}

/// An address on loopback behind which a peer is; gone when dropped. Callers must use a connection for each call.
pub struct LossyWay {
    pub address: String,
    listener: JoinHandle<()>,
}

struct Way {
    peer: String,
    lost: Lost,
    /// Calls with the mark so far.
    marked: AtomicUsize,
    is_cut: AtomicBool,
}

impl LossyWay {
    pub async fn start(peer: &str, lost: Lost) -> LossyWay {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let address = listener.local_addr().expect("it is bound").to_string();
        let way = Arc::new(Way {
            peer: peer.to_owned(),
            lost,
            marked: AtomicUsize::new(0),
            is_cut: AtomicBool::new(false),
        });
        let accept = async move {
            while let Ok((caller, _)) = listener.accept().await {
                tokio::spawn(pass(way.clone(), caller));
            }
        };
        LossyWay {
            address,
            listener: tokio::spawn(accept),
        }
    }
}

impl Drop for LossyWay {
    fn drop(&mut self) {
        self.listener.abort();
    }
}

impl Way {
    fn is_cut(&self) -> bool {
        self.is_cut.load(Ordering::SeqCst)
    }

    /// Whether a call gets lost of which this was said so far; none if that cannot be told yet.
    fn verdict(&self, said: &[u8]) -> Option<bool> {
        let mark = self.lost.mark.as_bytes();
        if !said.windows(mark.len()).any(|part| part == mark) {
            return None;
        }
        let is_lost = self.marked.fetch_add(1, Ordering::SeqCst) >= self.lost.spared;
        if is_lost && self.lost.loss == Loss::ReplyAndAllAfterIt {
            self.is_cut.store(true, Ordering::SeqCst);
        }
        Some(is_lost)
    }
}

/// Passes on what the two ends of a connection say.
async fn pass(way: Arc<Way>, caller: TcpStream) {
    if way.is_cut() {
        return;
    }
    let Ok(peer) = TcpStream::connect(&way.peer).await else { return };
    let (from_caller, to_caller) = caller.into_split();
    let (from_peer, to_peer) = peer.into_split();
    let is_lost = AtomicBool::new(false);
    tokio::join!(
        pass_requests(&way, &is_lost, from_caller, to_peer),
        pass_replies(&way, &is_lost, from_peer, to_caller)
    );
}

async fn pass_requests(way: &Way, is_lost: &AtomicBool, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let (mut said, mut verdict) = (Vec::new(), None);
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let piece = &buffer[..count];
        if verdict.is_none() {
            said.extend_from_slice(piece);
            verdict = way.verdict(&said);
            // Before the peer hears of it: its answer must not be faster.
            is_lost.store(verdict == Some(true), Ordering::SeqCst);
        }
        let is_held_back = verdict == Some(true) && way.lost.loss == Loss::Request;
        if !is_held_back && to.write_all(piece).await.is_err() {
            return;
        }
    }
}

async fn pass_replies(way: &Way, is_lost: &AtomicBool, mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        let is_held_back = way.is_cut() || is_lost.load(Ordering::SeqCst);
        if !is_held_back && to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
    }
}

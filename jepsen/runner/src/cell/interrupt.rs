//! Ctrl-C and SIGTERM: the first ends the run in order, the second at once, with everything taken away all the same. While the
//! field is being made, which takes seconds, they are only noted: what is half made can be taken away only by who makes it.

use crate::field::Field;
use anyhow::Context;
use std::sync::{Arc, OnceLock};
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

/// Exit code of a run that was ended at once.
const AT_ONCE: i32 = 130;

/// Tells when somebody asked for the end.
#[derive(Clone)]
pub struct Interrupt {
    asked: watch::Receiver<bool>,
    field: Arc<OnceLock<Arc<Field>>>,
}

impl Interrupt {
    /// Listens from now on, on a thread of its own: the field is made before any other is started.
    pub fn listen() -> anyhow::Result<Interrupt> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let signals = {
            let _within = runtime.enter();
            [signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?]
        };
        let (sender, asked) = watch::channel(false);
        let field: Arc<OnceLock<Arc<Field>>> = Arc::default();
        let made = field.clone();
        let listener = std::thread::Builder::new().name("interrupts".to_owned());
        listener
            .spawn(move || runtime.block_on(obey(signals, &sender, &made)))
            .context("no thread listens for signals")?;
        Ok(Interrupt { asked, field })
    }

    /// From now on the second signal takes this away.
    pub fn made(&self, field: Arc<Field>) {
        let _ = self.field.set(field);
    }

    /// Returns when somebody has asked.
    pub async fn asked(&self) {
        let mut asked = self.asked.clone();
        if asked.wait_for(|asked| *asked).await.is_err() {
            // Nobody can ask any more.
            std::future::pending::<()>().await;
        }
    }
}

async fn obey(signals: [Signal; 2], asked: &watch::Sender<bool>, made: &OnceLock<Arc<Field>>) {
    let [mut terminate, mut interrupt] = signals;
    loop {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if !asked.send_replace(true) {
            eprintln!("jepsen: ending the run; once more to end it at once");
            continue;
        }
        let Some(field) = made.get() else { continue };
        if let Err(error) = field.tear_down() {
            eprintln!("jepsen: {error:#}");
        }
        std::process::exit(AT_ONCE);
    }
}

//! Ctrl-C and SIGTERM: the first ends the run in order, the second at once, with everything taken away all the same.

use crate::field::Field;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// Exit code of a run that was ended at once.
const AT_ONCE: i32 = 130;

/// Tells when somebody asked for the end.
#[derive(Clone)]
pub struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// Listens from now on.
    pub fn listen(field: Arc<Field>) -> anyhow::Result<Interrupt> {
        let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let (sender, asked) = watch::channel(false);
        tokio::spawn(async move {
            for time in 0.. {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                if time == 0 {
                    eprintln!("jepsen: ending the run; once more to end it at once");
                    let _ = sender.send(true);
                    continue;
                }
                if let Err(error) = field.tear_down() {
                    eprintln!("jepsen: {error:#}");
                }
                std::process::exit(AT_ONCE);
            }
        });
        Ok(Interrupt(asked))
    }

    /// Returns when somebody has asked.
    pub async fn asked(&self) {
        let mut asked = self.0.clone();
        if asked.wait_for(|asked| *asked).await.is_err() {
            // Nobody can ask any more.
            std::future::pending::<()>().await;
        }
    }
}

//! Secret keys for commands that set them: from a file or the environment, never from an argument, which every user of the
//! machine could read in the process list.

use anyhow::{Context, bail};
use clap::Args;
use std::path::PathBuf;

#[derive(Clone, Args)]
pub struct KeyArguments {
    /// Access key.
    #[arg(long)]
    ak: Option<String>,
    /// File with the secret key. The key itself is also taken from QUORATE_SK.
    #[arg(long)]
    sk_file: Option<PathBuf>,
}

impl KeyArguments {
    /// Access key and secret; `None` when neither was given.
    pub fn read(&self) -> anyhow::Result<Option<(String, String)>> {
        let Some(ak) = &self.ak else {
            if self.sk_file.is_some() {
                bail!("--sk-file comes without --ak; give both or none");
            }
            return Ok(None);
        };
        let secret = match &self.sk_file {
            Some(path) => std::fs::read_to_string(path).with_context(|| format!("secret key file {}", path.display()))?,
            None => std::env::var("QUORATE_SK").map_err(|_| anyhow::anyhow!("--ak needs a secret key: --sk-file, or QUORATE_SK"))?,
        };
        let secret = secret.trim();
        if secret.is_empty() {
            bail!("the secret key is empty");
        }
        Ok(Some((ak.clone(), secret.to_owned())))
    }

    /// As [`KeyArguments::read`], for commands that are about nothing else.
    pub fn required(&self) -> anyhow::Result<(String, String)> {
        self.read()?.context("--ak is needed, with --sk-file or QUORATE_SK")
    }
}

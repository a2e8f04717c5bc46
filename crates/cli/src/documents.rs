//! Shell completions and the manual, from the definitions of the command line itself.

use anyhow::Context;
use clap::{Args, Command};
use clap_complete::Shell;
use std::fs;
use std::path::{Path, PathBuf};

#[derive(Args)]
pub struct CompletionsArguments {
    /// Which shell.
    shell: Shell,
}

#[derive(Args)]
pub struct ManArguments {
    /// Write one page per command into this directory instead of printing the first.
    #[arg(long)]
    dir: Option<PathBuf>,
}

/// Prints completions.
pub fn completions(arguments: &CompletionsArguments, mut command: Command) {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command, "quorate", &mut script);
    crate::print(&String::from_utf8_lossy(&script));
}

/// Prints the first page of the manual, or writes all.
pub fn manual(arguments: &ManArguments, mut command: Command) -> anyhow::Result<()> {
    command.build();
    let Some(dir) = &arguments.dir else {
        crate::print(&String::from_utf8_lossy(&page(&command, "quorate")?));
        return Ok(());
    };
    fs::create_dir_all(dir).with_context(|| format!("directory {}", dir.display()))?;
    let pages = write_pages(&command, "quorate", dir)?;
    eprintln!("{pages} pages written to {}", dir.display());
    Ok(())
}

fn write_pages(command: &Command, name: &str, dir: &Path) -> anyhow::Result<usize> {
    let path = dir.join(format!("{name}.1"));
    fs::write(&path, page(command, name)?).with_context(|| format!("page {}", path.display()))?;
    let mut pages = 1;
    for verb in command.get_subcommands().filter(|verb| verb.get_name() != "help") {
        pages += write_pages(verb, &format!("{name}-{}", verb.get_name()), dir)?;
    }
    Ok(pages)
}

fn page(command: &Command, name: &str) -> anyhow::Result<Vec<u8>> {
    let mut page = Vec::new();
    let titled = command.clone().display_name(name.to_owned());
    clap_mangen::Man::new(titled).render(&mut page)?;
    Ok(page)
}

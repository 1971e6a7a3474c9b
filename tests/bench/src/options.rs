//! What `bench` and `compare` are both told, and where both leave what they found.

use std::{fs, io, path::Path};

use clap::Args;

/// Who runs where.
#[derive(Clone, Copy, Debug, Args)]
pub struct Processors {
    /// The server's processor
    #[arg(long, default_value_t = 0)]
    pub server_core: usize,
    /// The generator's processor
    #[arg(long, default_value_t = 1)]
    pub own_core: usize,
}

/// Writes NAME.md, NAME.svg and NAME.json into the folder of `--out`.
pub fn leave(folder: &Path, name: &str, table: &str, picture: &str, figures: &serde_json::Value) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join(name).with_extension("md"), table)?;
    fs::write(folder.join(name).with_extension("svg"), picture)?;
    fs::write(folder.join(name).with_extension("json"), format!("{figures:#}\n"))
}

//! Has the crate built again when the pages were: they are embedded, and a macro cannot say so by itself.

use std::path::Path;

fn main() {
    let built = Path::new("clients/pages/dist");
    // Cargo takes what is not there for changed, each time.
    let watched = if built.exists() { built } else { Path::new("clients/pages") };
    println!("cargo::rerun-if-changed={}", watched.display());
}

//! The pages are embedded from a folder that need not be there: the server is built anew once they are.

use std::path::Path;

fn main() {
    let built = "clients/pages/dist";
    // Cargo takes a path that does not exist for one that has changed, and would build each time.
    let watched = if Path::new(built).exists() { built } else { "clients/pages" };
    println!("cargo:rerun-if-changed={watched}");
}

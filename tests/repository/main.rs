//! Tests of packages in other folders of the repository. The published package has none of them,
//! and these tests are skipped there.

#![cfg(feature = "std")]

mod firmware;
mod global_tiers;
mod programs;

/// The repository's folder, if this is not the published package, which says so.
fn repository() -> Option<&'static std::path::Path> {
    let this = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    if this.join("tests/programs/Cargo.toml").exists() {
        return Some(this);
    }
    eprintln!("skipped: the published package has no packages of its own");
    None
}

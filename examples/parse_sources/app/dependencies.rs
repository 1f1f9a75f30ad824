//! The default input: the sources of the packages that this program was built from.

use super::failure::Failure;
use cargo_metadata::{Metadata, MetadataCommand};
use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

/// The folders of all packages from a registry that this library's examples are built from.
///
/// For that, cargo wants the sources of the whole workspace, on the platform that this program was
/// compiled for. Those of the measurements' peers are no part of this build: where cargo does not
/// have them yet, it downloads them now, as many as the lock file names. They are no part of the
/// input either, which so is the same before and after.
///
/// # Errors
///
/// If cargo cannot be run, or can neither find nor download the packages, as where this program was
/// copied to another machine.
pub fn folders() -> Result<Vec<PathBuf>, Failure> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let options = ["--locked", "--filter-platform", target_tuple::TARGET];
    let unknown = |why: &str| {
        Failure::Input(format!(
            "cannot find the sources of this build's dependencies ({}): {why}; name the paths to parse instead",
            manifest.display(),
        ))
    };
    let metadata = MetadataCommand::new()
        .manifest_path(&manifest)
        .other_options(options.map(String::from))
        .exec()
        .map_err(|error| unknown(error.to_string().trim_end()))?;
    dependencies(&metadata, &manifest).ok_or_else(|| unknown("cargo does not say what it depends on"))
}

/// The folders of the packages from a registry that the package of that manifest depends on,
/// directly or not.
fn dependencies(metadata: &Metadata, manifest: &Path) -> Option<Vec<PathBuf>> {
    let root = metadata.packages.iter().find(|package| package.manifest_path == manifest)?;
    let resolve = metadata.resolve.as_ref()?;
    let next: HashMap<_, _> = resolve.nodes.iter().map(|node| (&node.id, &node.dependencies)).collect();
    let mut reached = HashSet::from([&root.id]);
    let mut open = vec![&root.id];
    while let Some(id) = open.pop() {
        open.extend(next.get(id)?.iter().filter(|id| reached.insert(id)));
    }
    let downloaded =
        metadata.packages.iter().filter(|package| reached.contains(&package.id) && package.source.is_some());
    Some(downloaded.filter_map(|package| Some(package.manifest_path.parent()?.into())).collect())
}

//! The example without an operating system: it is built without the standard library, runs, and
//! takes no memory but its own.

use std::fs;
use std::path::Path;
use std::process::Command;

#[test]
fn a_device_runs_on_the_memory_that_the_linker_set_aside() {
    let Some(this) = crate::repository() else { return };
    let (example, copy) =
        (this.join("examples/firmware"), Path::new(env!("CARGO_TARGET_TMPDIR")).join("firmware"));
    let target = copy.join("target");
    // A copy, so that nothing is written beside the sources, with the versions that are there
    // already.
    fs::create_dir_all(copy.join("src")).unwrap();
    fs::copy(example.join("src/main.rs"), copy.join("src/main.rs")).unwrap();
    fs::copy(this.join("Cargo.lock"), copy.join("Cargo.lock")).unwrap();
    let manifest = fs::read_to_string(example.join("Cargo.toml")).unwrap();
    let (relative, absolute) = ("path = \"../..\"", format!("path = {this:?}"));
    assert!(manifest.contains(relative));
    fs::write(copy.join("Cargo.toml"), manifest.replace(relative, &absolute)).unwrap();
    let build = Command::new(env!("CARGO"))
        .args(["build", "--release", "--offline", "--quiet", "--target-dir"])
        .arg(&target)
        .current_dir(&copy)
        .output()
        .unwrap();
    assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));
    let program = target.join("release/firmware");
    let status = Command::new(&program).status().unwrap();
    assert!(status.success(), "{status}");
    let bytes = fs::read(program).unwrap();
    for name in ["malloc", "mmap", "brk"] {
        let name = [&b"\0"[..], name.as_bytes(), b"\0"].concat();
        assert!(!bytes.windows(name.len()).any(|window| window == name), "the program calls {name:?}");
    }
}

//! The example without an operating system: it is built without the standard library, runs, and takes no memory but its own.

#![cfg(feature = "std")]

use std::path::Path;
use std::process::Command;

#[test]
fn a_device_runs_on_the_memory_that_the_linker_set_aside() {
    let this = Path::new(env!("CARGO_MANIFEST_DIR"));
    let example = this.join("examples/firmware");
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("firmware");
    // The versions that are there already.
    let lock = example.join("Cargo.lock");
    std::fs::copy(this.join("Cargo.lock"), &lock).unwrap();
    let build = Command::new(env!("CARGO"))
        .args(["build", "--release", "--offline", "--quiet", "--target-dir"])
        .arg(&target)
        .current_dir(&example)
        .output()
        .unwrap();
    std::fs::remove_file(lock).unwrap();
    assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));
    let program = target.join("release/firmware");
    let status = Command::new(&program).status().unwrap();
    assert!(status.success(), "{status}");
    let bytes = std::fs::read(program).unwrap();
    for name in ["malloc", "mmap", "brk"] {
        let name = [&b"\0"[..], name.as_bytes(), b"\0"].concat();
        assert!(!bytes.windows(name.len()).any(|window| window == name), "the program calls {name:?}");
    }
}

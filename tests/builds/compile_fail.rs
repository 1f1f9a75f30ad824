//! What must not compile, and the sentences that say why.
//!
//! Each program of `tests/ui` whose first comments have lines `// says: ...` must not compile, and
//! the compiler must say each of those sentences; a program without such lines must compile. Only
//! the sentences are pinned: what surrounds them (other implementors, spans, their order) depends
//! on the compiler and on the directory it runs in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[test]
fn wrong_programs_say_why() {
    let programs = programs();
    let crate_dir = write_crate(&programs);
    let mut wrong = Vec::new();
    let (mut must_fail, mut must_build) = (0, 0);
    for program in &programs {
        let name = name(program);
        let text = fs::read_to_string(program).unwrap();
        let sentences: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("// says: ")).collect();
        let (succeeded, messages) = build(&crate_dir, name);
        if sentences.is_empty() {
            must_build += 1;
            if !succeeded {
                wrong.push(format!("{name} does not compile:\n{messages}"));
            }
        } else {
            must_fail += 1;
            if succeeded {
                wrong.push(format!("{name} compiles"));
            }
            let missing = sentences.iter().filter(|sentence| !messages.contains(*sentence));
            wrong
                .extend(missing.map(|sentence| format!("{name} does not say: {sentence}\nbut:\n{messages}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    println!("{must_fail} programs say why they do not compile, {must_build} compile");
    assert!(must_fail >= 18 && must_build >= 2, "programs are missing");
}

fn programs() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ui");
    let mut programs: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    programs.sort();
    programs
}

fn name(program: &Path) -> &str {
    program.file_stem().unwrap().to_str().unwrap()
}

/// A crate that depends on this one and has each program as a binary.
fn write_crate(programs: &[PathBuf]) -> PathBuf {
    let this = Path::new(env!("CARGO_MANIFEST_DIR"));
    let crate_dir = Path::new(env!("CARGO_TARGET_TMPDIR")).join("wrong-programs");
    fs::create_dir_all(&crate_dir).unwrap();
    let mut manifest = format!(
        "[package]\nname = \"wrong-programs\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n\
         [dependencies]\ncontext-allocator = {{ path = {this:?} }}\ntypenum = \"1\"\n",
    );
    for program in programs {
        manifest += &format!("\n[[bin]]\nname = {:?}\npath = {program:?}\n", name(program));
    }
    fs::write(crate_dir.join("Cargo.toml"), manifest).unwrap();
    // The versions that are there already.
    fs::copy(this.join("Cargo.lock"), crate_dir.join("Cargo.lock")).unwrap();
    crate_dir
}

/// Builds one binary of the crate: whether that went well, and what the compiler said.
fn build(crate_dir: &Path, name: &str) -> (bool, String) {
    let output = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--offline", "--color", "never", "--bin", name, "--target-dir"])
        .arg(Path::new(env!("CARGO_TARGET_TMPDIR")).join("wrong-programs-target"))
        .current_dir(crate_dir)
        .output()
        .unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
}

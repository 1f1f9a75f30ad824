//! The programs of tests/programs, each a process of its own, built without optimisation, with it,
//! and with fat link-time optimisation.
//!
//! What they check shows in a whole program only: what the compiler keeps in registers across a
//! suspension, who registers fork handlers first, what unloading a library leaves behind.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Cargo's profiles that the programs are built in, and the folder of each.
const PROFILES: [(&str, &str); 3] = [("dev", "debug"), ("release", "release"), ("fat", "fat")];

/// The folder of the programs in a profile, built once.
fn built(profile: usize) -> &'static Path {
    static BUILT: [OnceLock<PathBuf>; PROFILES.len()] = [const { OnceLock::new() }; PROFILES.len()];
    BUILT[profile].get_or_init(|| {
        let (profile, folder) = PROFILES[profile];
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("programs");
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/Cargo.toml");
        let build = Command::new(env!("CARGO"))
            .args(["build", "--locked", "--quiet", "--profile", profile, "--manifest-path"])
            .arg(manifest)
            .arg("--target-dir")
            .arg(&target)
            .env_remove("RUSTFLAGS")
            .output()
            .expect("cargo runs");
        assert!(build.status.success(), "{}", String::from_utf8_lossy(&build.stderr));
        target.join(folder)
    })
}

/// Runs a program, which must end within a minute; a program that hangs is killed, and the test
/// fails.
fn run(profile: usize, program: &str, arguments: &[&str]) -> Output {
    let folder = built(profile);
    let mut child = Command::new(folder.join(program))
        .args(arguments)
        .current_dir(folder)
        .env("RUST_BACKTRACE", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let begin = Instant::now();
    while child.try_wait().expect("the program is a child").is_none() {
        if begin.elapsed() > Duration::from_secs(60) {
            child.kill().expect("the program can be killed");
            let output = child.wait_with_output().expect("its output can be read");
            panic!("{program} {arguments:?} hangs: {}", String::from_utf8_lossy(&output.stderr));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.wait_with_output().expect("its output can be read")
}

/// Runs a program that must succeed; what it printed.
fn succeeds(profile: usize, program: &str, arguments: &[&str]) -> String {
    let output = run(profile, program, arguments);
    let (said, complained) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let name = PROFILES[profile].0;
    assert!(
        output.status.success(),
        "{program} {arguments:?} in {name}: {}\n{said}{complained}",
        output.status
    );
    said.into_owned()
}

/// Coroutines of two libraries, 100,000 suspensions, on 4 threads.
fn coroutines(profile: usize) {
    for what in ["installed", "entered", "unswitched"] {
        for how in ["pinned", "migrating"] {
            let said = succeeds(profile, "stackful", &[what, how, "100000"]);
            let suspensions: usize =
                said.split(' ').next().and_then(|number| number.parse().ok()).expect("it says how many");
            assert!(suspensions >= 100_000);
        }
    }
}

#[test]
fn coroutines_move_between_threads_without_optimisation() {
    if crate::repository().is_none() {
        return;
    }
    coroutines(0);
}

#[test]
fn coroutines_move_between_threads_with_optimisation() {
    if crate::repository().is_none() {
        return;
    }
    coroutines(1);
}

#[test]
fn coroutines_move_between_threads_with_fat_link_time_optimisation() {
    if crate::repository().is_none() {
        return;
    }
    coroutines(2);
}

#[test]
fn several_allocators_and_threads_fork() {
    if crate::repository().is_none() {
        return;
    }
    succeeds(1, "two_allocators", &[]);
}

/// Other libraries' fork handlers allocate, or wait for threads that do, however they are linked.
#[test]
fn fork_handlers_of_other_libraries_allocate_and_wait() {
    if crate::repository().is_none() {
        return;
    }
    succeeds(1, "fork_handlers_static", &["allocates"]);
    succeeds(1, "fork_handlers_static", &["waits"]);
    // Registered by a constructor that ran before any of the program's.
    succeeds(1, "fork_handlers_dynamic", &["allocates"]);
    succeeds(1, "fork_handlers_first", &["allocates"]);
    succeeds(1, "fork_handlers_first", &["waits"]);
}

#[test]
fn corners_of_forks_and_of_threads_that_end() {
    if crate::repository().is_none() {
        return;
    }
    for case in ["last destructor", "nested", "first use", "by hand", "figures", "namespaces"] {
        succeeds(1, "fork_corners", &[case]);
    }
    succeeds(1, "sharded_hooks", &[]);
}

#[test]
fn a_library_is_unloaded_before_its_threads_end() {
    if crate::repository().is_none() {
        return;
    }
    succeeds(0, "plugin_host", &[]);
    succeeds(1, "plugin_host", &[]);
}

#[test]
fn a_panic_in_a_heap_with_a_limit_is_refused_nothing() {
    if crate::repository().is_none() {
        return;
    }
    for profile in [0, 1] {
        for limit in ["1", "4", "64"] {
            succeeds(profile, "panics", &[limit]);
        }
    }
}

#[test]
fn wrong_frees_end_the_process_with_a_sentence() {
    if crate::repository().is_none() {
        return;
    }
    for profile in [0, 1] {
        for (case, sentence) in [
            ("locally", "a block of a heap was freed twice"),
            ("remotely", "a block of a heap was freed twice"),
            ("late", "a block was freed again after the last one of its heap"),
            ("inside", "a large object was freed or resized by another address"),
            ("larger", "a large object was freed or resized by another address or with another layout"),
        ] {
            let output = run(profile, "wrong_frees", &[case]);
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.signal(), Some(libc::SIGABRT), "{case}: {} {said}", output.status);
            assert!(said.starts_with("context-allocator: ") && said.contains(sentence), "{case}: {said}");
            assert!(said.contains("(at 0x") && said.ends_with("the process ends\n"), "{case}: {said}");
        }
    }
}

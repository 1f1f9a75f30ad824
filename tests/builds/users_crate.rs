//! A crate that depends on this one: how much it takes with it, and what it is told where the
//! feature `std` cannot be.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Packages that a user's lock file names for this library and its default features: the two crates
/// themselves, `generic-array`, `libc`, `memoffset` with `autocfg` to build it, `rustversion`, and
/// `typenum`.
const LOCKED: usize = 8;

/// The start of what the compiler says on a system that is not supported.
const REFUSAL: &str = "error: the feature `std` of context-allocator needs Linux";

fn this() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A folder for a crate, with that manifest, and with the versions of this library's lock file.
fn folder(name: &str, manifest: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::create_dir_all(folder.join("src")).unwrap();
    fs::write(folder.join("Cargo.toml"), manifest).unwrap();
    fs::copy(this().join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
    folder
}

fn cargo(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO"))
        .args(arguments)
        .args(["--offline", "--color", "never"])
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .current_dir(folder)
        .output()
        .unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_users_lock_file_names_what_is_compiled_and_nothing_else() {
    let manifest = format!(
        "[package]\nname = \"user\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\ncontext-allocator = {{ path = {:?} }}\n",
        this()
    );
    let user = folder("user", &manifest);
    fs::write(user.join("src/lib.rs"), "pub use context_allocator::SwitchableAllocator;\n").unwrap();
    let check = cargo(&user, &["check", "--quiet"]);
    assert!(check.status.success(), "{}", said(&check));
    let lock = fs::read_to_string(user.join("Cargo.lock")).unwrap();
    let names: Vec<&str> = lock.lines().filter_map(|line| line.strip_prefix("name = ")).collect();
    assert_eq!(names.len(), LOCKED, "{names:?}");

    // A user's models are built with this flag for the whole of it: the library is what it is
    // without.
    let models = Command::new(env!("CARGO"))
        .args(["check", "--quiet", "--offline", "--color", "never"])
        .env("RUSTFLAGS", "--cfg loom")
        .env("CARGO_TARGET_DIR", user.join("target-loom"))
        .current_dir(&user)
        .output()
        .unwrap();
    assert!(models.status.success(), "{}", said(&models));
}

/// This library as it is on a system that is not Linux: in all its text, "linux" is a system that
/// does not exist.
fn elsewhere(name: &str) -> PathBuf {
    let manifest = "[package]\nname = \"context-allocator\"\nedition = \"2024\"\n\n[workspace]\n\n\
        [features]\nstd = [\"dep:libc\"]\ncollections = []\nallocator-api2-02 = []\nallocator-api2-03 = []\nallocator-api2-04 = []\n\
        nightly = []\ntesting = []\n\n[dependencies]\ngeneric-array = { version = \"1\", default-features = false }\n\
        libc = { version = \"0.2\", default-features = false, optional = true }\nmemoffset = \"0.9\"\n\
        typenum = { version = \"1\", default-features = false }\n";
    let copy = folder(name, manifest);
    fs::remove_dir_all(copy.join("src")).unwrap();
    let replaced = copy_tree(&this().join("src"), &copy.join("src"));
    // Which of them they are is decided at the crate's root, and in `sys`.
    assert!(replaced.iter().any(|file| file == Path::new("lib.rs")), "{replaced:?}");
    assert!(
        replaced.iter().all(|file| file == Path::new("lib.rs") || file.starts_with("sys")),
        "{replaced:?}"
    );
    copy
}

/// Copies the sources under `from`; gives those that name a system, relative to it.
fn copy_tree(from: &Path, to: &Path) -> Vec<PathBuf> {
    fs::create_dir_all(to).unwrap();
    let mut replaced = Vec::new();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (path, name) = (entry.path(), PathBuf::from(entry.file_name()));
        if path.is_dir() {
            replaced.extend(copy_tree(&path, &to.join(&name)).into_iter().map(|file| name.join(file)));
            continue;
        }
        let text = fs::read_to_string(&path).unwrap();
        fs::write(to.join(&name), text.replace("target_os = \"linux\"", "target_os = \"elsewhere\""))
            .unwrap();
        if text.contains("target_os") {
            replaced.push(name);
        }
    }
    replaced
}

#[test]
fn on_other_systems_the_core_builds_and_std_is_refused_in_one_sentence() {
    let copy = elsewhere("elsewhere");
    let core = cargo(&copy, &["check"]);
    assert!(core.status.success(), "{}", said(&core));

    let std = cargo(&copy, &["check", "--features", "std"]);
    assert!(!std.status.success());
    let said = said(&std);
    let errors: Vec<&str> = said
        .lines()
        .filter(|line| line.starts_with("error") && !line.starts_with("error: could not compile"))
        .collect();
    assert!(matches!(errors[..], [error] if error.starts_with(REFUSAL)), "{said}");
}

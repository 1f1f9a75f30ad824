//! Builds the library with fork handlers, once as an archive and once as a shared object.

use std::env;
use std::path::PathBuf;
use std::process::Command;

fn run(program: &str, arguments: &[&str]) {
    let status = Command::new(program).args(arguments).status().expect("a C compiler and `ar`");
    assert!(status.success(), "{program} {arguments:?}");
}

fn main() {
    println!("cargo:rerun-if-changed=c/handlers.c");
    let folder = PathBuf::from(env::var_os("OUT_DIR").expect("cargo names a folder"));
    let path = |name: &str| folder.join(name).to_str().expect("the path is text").to_owned();
    let (object, archive, shared) =
        (path("handlers.o"), path("libhandlers_static.a"), path("libhandlers.so"));
    run("cc", &["-c", "-fPIC", "-O2", "c/handlers.c", "-o", &object]);
    run("ar", &["rcs", &archive, &object]);
    run("cc", &["-shared", &object, "-o", &shared]);
    println!("cargo:rustc-link-arg-bin=fork_handlers_static={object}");
    for program in ["fork_handlers_dynamic", "fork_handlers_first"] {
        println!("cargo:rustc-link-arg-bin={program}={shared}");
        println!("cargo:rustc-link-arg-bin={program}=-Wl,-rpath,{}", folder.display());
    }
}

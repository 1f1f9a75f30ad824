//! Fork handlers of a library that is linked statically.

#[path = "../fork_handlers/mod.rs"]
mod fork_handlers;

fn main() {
    fork_handlers::main();
}

//! Fork handlers of a library that is linked dynamically, and those of the allocator before all
//! constructors.

#[path = "../fork_handlers/mod.rs"]
mod fork_handlers;

context_allocator::fork_handlers_first!();

fn main() {
    fork_handlers::main();
}

//! Parses Rust sources, each file in a heap of its own, and measures the three tiers of the switch.
//!
//! ```text
//! cargo run --release --example parse_sources      # the sources of this build's dependencies
//! cargo run --release --example parse_sources -- src --tier coroutine --json
//! ```
//!
//! Each file is a request: a worker reads it, parses it with `syn`, counts what is in it and drops
//! everything. The same process does so in the global tier, in the thread tier and in the coroutine
//! tier, with nothing rebuilt, checks that all of them counted the same, and prints what each one
//! took.
//!
//! One string of each file, its longest identifier, outlives the file's heap, and some of these are
//! freed on another thread, as results are in a real service.
//!
//! All that knows the allocator is in `tiers`. The examples `parse_sources_system` and
//! `parse_sources_mimalloc` are the same program on those allocators.

mod app;
mod tiers;

fn main() -> std::process::ExitCode {
    tiers::aside(app::main)
}

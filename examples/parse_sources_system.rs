//! The example `parse_sources` on the system's allocator, to compare with.

#[path = "parse_sources/app/mod.rs"]
mod app;
#[path = "parse_sources/one_tier.rs"]
mod tiers;

#[global_allocator]
static ALLOC: std::alloc::System = std::alloc::System;

fn main() -> std::process::ExitCode {
    tiers::aside(app::main)
}

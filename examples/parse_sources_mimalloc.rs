//! The example `parse_sources` on mimalloc, to compare with.

#[path = "parse_sources/app/mod.rs"]
mod app;
#[path = "parse_sources/one_tier.rs"]
mod tiers;

#[global_allocator]
static ALLOC: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    tiers::aside(app::main)
}

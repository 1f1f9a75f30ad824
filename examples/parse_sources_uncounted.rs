//! The example `parse_sources` on a switch that counts nothing, to compare its time with other allocators'.

#[path = "parse_sources/app/mod.rs"]
mod app;
#[path = "parse_sources/uncounted.rs"]
mod tiers;

fn main() -> std::process::ExitCode {
    tiers::aside(app::main)
}

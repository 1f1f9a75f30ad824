//! The example `parse_sources` on a global allocator: this library's switch without counting, or
//! the peer that the features of the build choose.

#[cfg(feature = "peer")]
#[allow(dead_code, reason = "only its static is needed here")]
#[path = "allocator/peer.rs"]
mod allocator;
#[path = "../../../../examples/parse_sources/app/mod.rs"]
mod app;
#[cfg_attr(feature = "peer", path = "../../../../examples/parse_sources/one_tier.rs")]
#[cfg_attr(not(feature = "peer"), path = "../../../../examples/parse_sources/uncounted.rs")]
mod tiers;

fn main() -> std::process::ExitCode {
    tiers::aside(app::main)
}

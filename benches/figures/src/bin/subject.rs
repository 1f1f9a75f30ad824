//! What is measured on a global allocator: on this library's, or on the peer that the features of
//! the build choose.

#[cfg_attr(feature = "peer", path = "allocator/peer.rs")]
#[cfg_attr(not(feature = "peer"), path = "allocator/ours.rs")]
mod allocator;

fn main() -> std::process::ExitCode {
    figures::subject::main(&allocator::cases())
}

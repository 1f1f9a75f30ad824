//! Nothing yet.
/// Nothing yet.
pub fn main() -> std::process::ExitCode { std::process::ExitCode::SUCCESS }

//! The program, whatever allocator it runs on: find the sources, parse them in each tier, compare,
//! report.

mod args;
mod counts;
mod dependencies;
mod failure;
mod figures;
mod input;
mod program;
mod progress;
mod report;
mod request;
mod resident;
mod run;
mod table;
mod tier;

pub use figures::Figures;
pub use program::main;
pub use tier::Tier;

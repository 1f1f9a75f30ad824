//! How much of a region each allocator fills.

use std::path::Path;
use std::process::Command;

use super::Failure;
use super::markdown::table;
use super::subjects::output;
use crate::cases::direct::efficiency::Share;

/// Prints the table.
pub fn compare(directory: &Path) -> Result<(), Failure> {
    let mut table = table(&["allocator", "16 B to 4 KiB at random", "64 B only"], 1);
    for line in output(Command::new(directory.join("direct")).arg("efficiency"))?.lines() {
        let share: Share = serde_json::from_str(line).map_err(|error| format!("{line}: {error}"))?;
        table.add_row([
            share.allocator,
            format!("{:.3}", share.random_sizes),
            format!("{:.3}", share.blocks),
        ]);
    }
    println!("{table}");
    Ok(())
}

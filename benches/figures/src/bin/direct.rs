//! The cases of allocators that are used directly; with `efficiency`, how much of a region each of them fills.

use std::process::ExitCode;

use figures::{cases, subject};

#[global_allocator]
static ALLOC: std::alloc::System = std::alloc::System;

fn main() -> ExitCode {
    if std::env::args().nth(1).is_some_and(|command| command == "efficiency") {
        cases::direct::efficiency::all(|share| {
            println!("{}", serde_json::to_string(&share).expect("all keys are strings"));
        });
        return ExitCode::SUCCESS;
    }
    subject::main(&cases::direct::cases())
}

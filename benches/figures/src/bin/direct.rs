//! What is measured on allocators that are used directly; with `efficiency`, how much of a region
//! each of them fills.

use std::process::ExitCode;

use figures::{cases, situations, subject};

#[global_allocator]
static ALLOC: std::alloc::System = std::alloc::System;

fn main() -> ExitCode {
    if std::env::args().nth(1).is_some_and(|command| command == "efficiency") {
        cases::direct::efficiency::all(|share| {
            println!("{}", serde_json::to_string(&share).expect("all keys are strings"));
        });
        return ExitCode::SUCCESS;
    }
    let mut cases = vec![cases::pair::harness()];
    cases.extend(cases::classes::cases());
    cases.extend(cases::bump::cases());
    cases.extend(cases::alone::cases());
    cases.extend(cases::region::arenas());
    cases.extend(cases::growth::mapped());
    cases.extend(cases::direct::cases());
    cases.extend(situations::arena());
    subject::main(&cases)
}

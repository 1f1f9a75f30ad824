//! The example `endurance`, for some seconds.

#![cfg(feature = "std")]

use std::time::Duration;

#[path = "../examples/endurance/load.rs"]
mod load;

use load::{Plan, run};

context_allocator::global_thread_and_coroutine_switchable_allocator!(static ALLOC);

/// In one test, since both look at the memory of the process.
#[test]
fn memory_does_not_grow_unless_it_is_lost() {
    let short = Plan {
        warm_up: Duration::from_millis(2000),
        total: Duration::from_millis(2400),
        blocks: 2000,
        allowance: 2048,
        leak: false,
    };
    let report = run(short, |_| ());
    println!("{report}");
    assert!(!report.grew(), "{report}: {:?}", report.medians);
    assert!(report.passed > 1000 && report.threads > 100 && report.sleeps > 10, "{report}");
    // Five blocks of each hundred are lost.
    let lost = run(
        Plan { warm_up: Duration::ZERO, total: Duration::from_millis(1500), leak: true, ..short },
        |_| (),
    );
    println!("{lost}");
    assert!(lost.grew(), "blocks that are lost are not noticed: {lost}");
}

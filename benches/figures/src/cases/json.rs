//! A JSON document of 20 KiB, parsed and dropped.

use std::hint::black_box;
use std::sync::LazyLock;

use super::{Case, Tier};
use crate::programs::document;

/// Bytes of the document, about.
const BYTES: usize = 20 << 10;

static DOCUMENT: LazyLock<String> = LazyLock::new(|| document::of(BYTES, 1).to_string());

fn parse<T: Tier>(iterations: u64) {
    let text = DOCUMENT.as_str();
    for _ in 0..iterations {
        T::within(|| {
            let value: serde_json::Value =
                serde_json::from_str(black_box(text)).expect("it was written as JSON");
            drop(black_box(value));
        });
    }
}

/// The cases.
pub fn cases<T: Tier>() -> Vec<Case> {
    let case = |threads| {
        Case::new("JSON, 20 KiB parsed and dropped", T::NAME, T::ROLE, parse::<T>)
            .of_blocks(2_000)
            .on_threads(threads)
    };
    [1, 2, 4].map(case).into()
}

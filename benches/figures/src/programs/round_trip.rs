//! Parses a JSON document of 4 MB, changes it, writes it, parses that again and compares: four
//! times on each of two threads.

use std::thread;

use serde_json::Value;

use super::document;
use crate::cases::Tier;

const BYTES: usize = 4_000_000;
const TIMES: usize = 4;
const THREADS: u64 = 2;

/// Adds to every number and to every text, and takes out every other value that is null.
fn change(value: &mut Value, nulls: &mut usize) {
    match value {
        Value::Number(number) => *number = (number.as_i64().expect("an integer") + 1).into(),
        Value::String(text) => text.push_str(", changed"),
        Value::Array(values) => values.iter_mut().for_each(|value| change(value, nulls)),
        Value::Object(values) => {
            values.values_mut().for_each(|value| change(value, nulls));
            values.retain(|_, value| {
                !value.is_null() || {
                    *nulls += 1;
                    nulls.is_multiple_of(2)
                }
            });
        }
        Value::Null | Value::Bool(_) => {}
    }
}

/// One round, which is a context of its own; the length of what was written.
fn round(text: &str) -> usize {
    let mut value: Value = serde_json::from_str(text).expect("it was written as JSON");
    change(&mut value, &mut 0);
    let written = value.to_string();
    let again: Value = serde_json::from_str(&written).expect("it was written as JSON");
    assert_eq!(value, again, "what was written is not what was read");
    written.len()
}

/// Runs it and prints a figure that is the same on every allocator.
pub fn run<T: Tier>(_iterations: u64) {
    let lengths = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS)
            .map(|seed| {
                scope.spawn(move || {
                    let text = document::of(BYTES, seed).to_string();
                    (0..TIMES).map(|_| T::within(|| round(&text))).sum::<usize>()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no thread panics")).sum::<usize>()
    });
    println!("{lengths} bytes written");
}

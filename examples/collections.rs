//! Collections in each allocator of this library: the words of a text, counted, sorted, and shared.
//! `SizeClassAllocator` is left out, since it leaves blocks beyond 32 KiB, which a table of many
//! words is, to others.
//!
//! ```text
//! cargo run --release --features collections --example collections [FILE]
//! ```
//! Without a file it reads this library's own README. With `--features collections,nightly`, on a
//! nightly toolchain, the words are also sorted in a `BTreeMap` of the standard library.
#![cfg_attr(feature = "nightly", feature(btreemap_alloc))]

use std::error::Error;
use std::time::Instant;
use std::{env, fs};

use comfy_table::{Table, presets};
use context_allocator::alloc::Lifetime;
use context_allocator::collections::{Arc, Box, HashMap, HashSet, Rc, String, Vec};
use context_allocator::source::CountingSource;
use context_allocator::{
    Allocator, BitSetAllocator, BumpAllocator, ContextAllocator, Locked, MmapAllocator, MmapSource,
    MultipleBinarySearchTreeAllocator,
};

/// What is known of a text.
#[derive(Debug, PartialEq, Eq)]
struct Words {
    all: usize,
    different: usize,
    most_frequent: std::string::String,
    longest: std::string::String,
}

/// Counts the words of `text` in collections that all use `allocator`.
fn count<A: Allocator>(text: &str, allocator: &A) -> Words {
    // Of a type that is known, `&allocator` will do: `HashMap::new_in(&bump)`.
    let lent = allocator.adapt();
    let mut counts = HashMap::new_in(lent);
    let mut longest = Box::new_in(0, lent);
    let mut all = 0;
    for word in text.split(|character: char| !character.is_alphanumeric()).filter(|word| !word.is_empty()) {
        *counts.entry(String::from_str_in(word, allocator)).or_insert(0) += 1;
        *longest = word.len().max(*longest);
        all += 1;
    }
    let mut sorted = Vec::new_in(lent);
    sorted.extend(counts.iter().map(|(word, &count)| (Rc::from_str_in(word, allocator), count)));
    sorted.sort_by(|(one, few), (other, many)| many.cmp(few).then_with(|| one.cmp(other)));
    let mut frequent = HashSet::new_in(lent);
    frequent.extend(sorted.iter().filter(|(_, count)| *count > 1).map(|(word, _)| word.clone()));
    assert!(frequent.len() <= counts.len());
    sort_on_nightly(&sorted, allocator);
    let most_frequent = sorted.first().map_or_else(Default::default, |(word, _)| word.to_string());
    let mut of_that_length = Vec::new_in(lent);
    of_that_length.extend(sorted.iter().map(|(word, _)| &**word).filter(|word| word.len() == *longest));
    let longest = of_that_length.iter().min().map_or_else(Default::default, ToString::to_string);
    Words { all, different: counts.len(), most_frequent, longest }
}

/// Sorts the words in a map of the standard library's, which takes an allocator on nightly only.
#[cfg(feature = "nightly")]
fn sort_on_nightly<A: Allocator>(words: &[(Rc<str, &A>, usize)], allocator: &A) {
    use std::collections::BTreeMap;
    let mut sorted = BTreeMap::new_in(allocator.adapt());
    sorted.extend(words.iter().map(|(word, count)| (&**word, *count)));
    assert!(sorted.len() == words.len() && sorted.keys().is_sorted());
}

/// There is no such map on stable.
#[cfg(not(feature = "nightly"))]
fn sort_on_nightly<A: Allocator>(_: &[(Rc<str, &A>, usize)], _: &A) {}

type Source<'a> = &'a CountingSource<MmapSource>;

fn main() -> Result<(), std::boxed::Box<dyn Error>> {
    let path = env::args().nth(1).unwrap_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/README.md").into());
    let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
    let mut table = Table::new();
    table.load_style(presets::ASCII_MARKDOWN);
    table.set_header(["allocator", "words", "different", "KiB obtained at most", "milliseconds"]);
    let mut first: Option<Words> = None;
    let mut try_out = |name: &str, work: &dyn Fn(Source<'_>) -> Words| {
        let source = CountingSource::new(MmapSource::new());
        let start = Instant::now();
        let words = work(&source);
        let taken = start.elapsed();
        let counts = source.counts();
        assert_eq!(counts.bytes, 0, "an allocator gives everything back when it goes");
        table.add_row([
            name.to_string(),
            words.all.to_string(),
            words.different.to_string(),
            (counts.most_bytes / 1024).to_string(),
            format!("{:.2}", taken.as_secs_f64() * 1e3),
        ]);
        assert!(first.as_ref().is_none_or(|first| *first == words), "{name} counts otherwise");
        first = Some(words);
    };
    try_out("BumpAllocator", &|source| count(&text, &BumpAllocator::new(source)));
    try_out("BitSetAllocator", &|source| count(&text, &BitSetAllocator::new(source)));
    try_out("MultipleBinarySearchTreeAllocator", &|source| {
        count(&text, &MultipleBinarySearchTreeAllocator::new(source))
    });
    try_out("ContextAllocator, short", &|source| {
        count(&text, &ContextAllocator::new(source, Lifetime::Short))
    });
    try_out("ContextAllocator, medium", &|source| {
        count(&text, &ContextAllocator::new(source, Lifetime::Medium))
    });
    try_out("ContextAllocator, long", &|source| count(&text, &ContextAllocator::new(source, Lifetime::Long)));
    try_out("MmapAllocator", &|source| count(&text, &MmapAllocator::new_in(source)));
    try_out("Locked<BitSetAllocator>, on 4 threads", &|source| {
        let shared = Locked::new(BitSetAllocator::new(source));
        let text: Arc<str, _> = Arc::from_str_in(&text, &shared);
        std::thread::scope(|scope| {
            let count = || count(&text, &shared);
            let threads: [_; 4] = std::array::from_fn(|_| scope.spawn(count));
            threads.map(|thread| thread.join().expect("counting does not panic")).into_iter().next()
        })
        .expect("four threads counted")
    });
    println!("{table}");
    if let Some(Words { most_frequent, longest, .. }) = first {
        println!("\nMost frequent: {most_frequent:?}. Longest: {longest:?}.");
    }
    Ok(())
}

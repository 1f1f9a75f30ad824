//! `String` over an allocator does what the standard library's does.

use std::collections::HashMap;
use std::fmt::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};

use context_allocator::alloc::SizeClassAllocator;
use context_allocator::collections::String;
use context_allocator::testing::RefusingSource;
use context_allocator::{Allocator, BumpAllocator, MmapSource};

const CHARACTERS: [char; 8] = ['a', 'ß', '€', '😀', '\u{0}', 'Z', '\u{7ff}', '\u{10ffff}'];

/// The same random operations on both strings.
fn against_the_standard_library<A: Allocator + Clone>(allocator: &A, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut ours = String::new_in(allocator.clone());
    let mut theirs = std::string::String::new();
    for _ in 0..20_000 {
        let character = CHARACTERS[random.usize(..8)];
        let boundaries: Vec<usize> = theirs.char_indices().map(|(at, _)| at).chain([theirs.len()]).collect();
        let at = boundaries[random.usize(..boundaries.len())];
        match random.u8(..16) {
            0..4 => {
                ours.push(character);
                theirs.push(character);
            }
            4 | 5 => {
                ours.push_str("text €");
                theirs.push_str("text €");
            }
            6 => assert_eq!(ours.pop(), theirs.pop()),
            7 | 8 => {
                ours.insert(at, character);
                theirs.insert(at, character);
            }
            9 if at < theirs.len() => assert_eq!(ours.remove(at), theirs.remove(at)),
            10 => {
                ours.retain(|kept| kept != character);
                theirs.retain(|kept| kept != character);
            }
            11 => assert_eq!(ours.split_off(at), theirs.split_off(at).as_str()),
            12 => {
                ours.insert_str(at, "🦀 and");
                theirs.insert_str(at, "🦀 and");
            }
            13 => {
                ours.shrink_to_fit();
                ours = ours.clone();
            }
            14 if random.u8(..4) == 0 => {
                ours.truncate(at);
                theirs.truncate(at);
            }
            _ => {
                ours.extend(['x', '😀']);
                theirs.extend(['x', '😀']);
            }
        }
        assert!(std::str::from_utf8(ours.as_bytes()).is_ok());
        assert_eq!(ours, theirs.as_str());
        if theirs.len() > 400 {
            ours.clear();
            theirs.clear();
        }
    }
}

#[test]
fn strings_do_what_the_standard_library_does() {
    let classes = SizeClassAllocator::new(MmapSource::new());
    let bump = BumpAllocator::new(MmapSource::new());
    for seed in 1..=3 {
        against_the_standard_library(&&classes, seed);
        against_the_standard_library(&&bump, seed);
    }
}

#[test]
fn wrong_places_panic_and_change_nothing() {
    let bump = BumpAllocator::new(MmapSource::new());
    let mut text = String::from_str_in("a€b", &bump);
    type Change<'a> = fn(&mut String<&'a BumpAllocator<MmapSource>>);
    let changes: [Change<'_>; 5] = [
        |text| text.truncate(2),
        |text| text.insert(3, 'x'),
        |text| drop(text.split_off(2)),
        |text| _ = text.remove(2),
        |text| _ = text.remove(5),
    ];
    for change in changes {
        assert!(catch_unwind(AssertUnwindSafe(|| change(&mut text))).is_err());
        assert_eq!(text, "a€b");
    }
}

/// A panic in the middle leaves what was kept until then, and always UTF-8.
#[test]
fn a_panic_while_retaining_leaves_what_was_kept() {
    let bump = BumpAllocator::new(MmapSource::new());
    let mut text = String::from_str_in("x€y😀z", &bump);
    let caught = catch_unwind(AssertUnwindSafe(|| {
        text.retain(|character| {
            assert_ne!(character, 'z', "on purpose");
            character != 'x'
        });
    }));
    assert!(caught.is_err());
    assert_eq!(text, "€y😀");
}

#[test]
fn strings_go_to_bytes_and_back() {
    let bump = BumpAllocator::new(MmapSource::new());
    let text = String::from_str_in("grün", &bump);
    let mut bytes = text.into_bytes();
    assert_eq!(bytes.len(), 5);
    bytes.truncate(3);
    let (mut bytes, error) = String::from_utf8(bytes).expect_err("half a character");
    assert_eq!(error.valid_up_to(), 2);
    bytes.pop();
    assert_eq!(String::from_utf8(bytes).expect("whole characters"), "gr");
}

#[test]
fn no_memory_is_an_error_of_writing() {
    let bump = BumpAllocator::new(RefusingSource::from(MmapSource::new(), 0));
    let mut text = String::new_in(&bump);
    assert!(write!(text, "{}", 1).is_err());
    assert!(text.try_reserve(1).is_err());
    assert_eq!((text.len(), text.capacity()), (0, 0));
}

#[test]
#[expect(clippy::mutable_key_type, reason = "what a string hashes to does not depend on its allocator")]
fn strings_are_keys() {
    let bump = BumpAllocator::new(MmapSource::new());
    let mut map = HashMap::new();
    for word in ["one", "two", "one"] {
        *map.entry(String::from_str_in(word, &bump)).or_insert(0) += 1;
    }
    assert_eq!((map["one"], map.get("two"), map.get("three")), (2, Some(&1), None));
    let mut text = String::with_capacity_in(10, &bump);
    text += "b";
    assert!(String::from_str_in("a", &bump) < text);
    text.make_ascii_uppercase();
    assert!(std::ptr::eq(*text.allocator(), &raw const bump));
    assert_eq!(format!("{text} {text:?}"), "B \"B\"");
}

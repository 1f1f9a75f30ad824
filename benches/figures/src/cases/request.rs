//! What a request of a server may do: 200 strings, a map of them, vectors that grow, an answer.
//! Written once for all that a collection can take as its allocator, so that arenas can be compared
//! with global allocators.

use std::hash::{BuildHasherDefault, DefaultHasher};
use std::hint::black_box;

use allocator_api2::alloc::{Allocator, Global};
use allocator_api2::vec::Vec;
use context_allocator::{BumpAllocator, MmapSource};
use hashbrown::HashMap;

use super::bump::{Bump, Lend};
use super::{Case, Role, Tier};

const NAME: &str = "request: 200 strings, a map, vectors";
const STRINGS: usize = 200;

/// Always the same, so that runs are alike.
type Hasher = BuildHasherDefault<DefaultHasher>;

/// A string that is put together.
fn string<A: Allocator>(number: usize, allocator: A) -> Vec<u8, A> {
    let mut string = Vec::new_in(allocator);
    string.extend_from_slice(b"/path/");
    for digit in 0..1 + number % 7 {
        string.extend_from_slice(b"item-");
        string.push(b'0' + ((number >> digit) % 10) as u8);
    }
    string
}

/// Does all of it, and gives the length of the answer.
pub fn answer<A: Allocator + Copy>(allocator: A) -> usize {
    let mut strings = Vec::new_in(allocator);
    let mut lengths = HashMap::<Vec<u8, A>, usize, Hasher, A>::with_hasher_in(Hasher::default(), allocator);
    for number in 0..STRINGS {
        let string = string(number, allocator);
        if number % 4 == 0 {
            lengths.insert(string.clone(), string.len());
        }
        strings.push(string);
    }
    let mut numbers = Vec::new_in(allocator);
    for (index, string) in strings.iter().enumerate() {
        if let Some(length) = lengths.get(string) {
            numbers.push(index * length);
        }
    }
    let mut answer = Vec::new_in(allocator);
    for string in strings.iter().rev() {
        answer.extend_from_slice(string);
        answer.push(b'\n');
    }
    black_box(&answer).len() + black_box(&numbers).len()
}

fn requests<T: Tier>(iterations: u64) {
    for _ in 0..iterations {
        T::within(|| black_box(answer(Global)));
    }
}

fn in_arena<B: Bump>(iterations: u64)
where
    for<'a> &'a B: Lend<'a>,
{
    let mut bump = <B as Bump>::new();
    for _ in 0..iterations {
        black_box(answer((&bump).lend()));
        bump.reset();
    }
}

/// As many blocks as it allocates, about.
const WEIGHT: u64 = 1_000;

/// A request in a region of its own.
pub fn region(allocator: &str, role: Role, run: fn(u64)) -> Case {
    Case::new(NAME, allocator, role, run).of_blocks(WEIGHT)
}

/// The cases.
pub fn cases<T: Tier>() -> std::vec::Vec<Case> {
    [1, 2, 4].map(|threads| region(T::NAME, T::ROLE, requests::<T>).on_threads(threads)).into()
}

/// The same in arenas that are passed around and reset after each request.
pub fn arenas() -> std::vec::Vec<Case> {
    vec![
        region("bumpalo, reset", Role::Other, in_arena::<bumpalo::Bump>),
        region("bump-scope, reset", Role::Other, in_arena::<bump_scope::Bump>),
        region("blink-alloc, reset", Role::Other, in_arena::<blink_alloc::BlinkAlloc>),
        region("BumpAllocator, reset", Role::Ours, in_arena::<BumpAllocator<MmapSource>>),
    ]
}

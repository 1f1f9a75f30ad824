//! Collections of other crates on each allocator.

use std::alloc::System;
use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;

use crate::support::CheckingSource;
use allocator_api2_02::alloc::{Allocator as ForeignAllocator, Global};
use allocator_api2_02::boxed::Box;
use allocator_api2_02::vec::Vec;
use context_allocator::adapt::{AllocToAllocatorAdaptor, AllocatorAdaptor, GlobalAllocToAllocatorAdaptor};
use context_allocator::alloc::{Lifetime, Reset, SizeClassAllocator};
use context_allocator::{
    Allocator, BitSetAllocator, BumpAllocator, ContextAllocator, Locked, MmapAllocator, MmapSource,
    MultipleBinarySearchTreeAllocator, collections,
};
use hashbrown::{DefaultHashBuilder, HashMap, HashSet};

type Source = CheckingSource<MmapSource>;
type Map<K, V, A> = collections::HashMap<K, V, A>;

/// Works with vectors, boxes and maps that borrow `allocator`, of elements with and without a size.
/// Nothing in it needs more than `most` bytes at once.
fn use_collections<A: Allocator>(allocator: &A, most: usize) {
    let lent = AllocatorAdaptor::new(allocator);
    let count = most / 64;
    let mut numbers = Vec::new_in(lent);
    numbers.extend(0..count as u64);
    numbers.retain(|number| number % 3 == 0);
    numbers.shrink_to_fit();
    assert!(black_box(&numbers).iter().copied().eq((0..count as u64).step_by(3)));
    let mut nested: Vec<Vec<u8, _>, _> = Vec::new_in(lent);
    for len in 0..100 {
        let mut bytes = Vec::with_capacity_in(len, lent);
        bytes.resize(len, len as u8);
        nested.push(bytes);
    }
    nested.swap(3, 97);
    nested.truncate(98);
    assert!(nested.iter().all(|bytes| bytes.iter().all(|&byte| usize::from(byte) == bytes.len())));
    let clone = nested.clone();
    assert_eq!(black_box(clone), nested);
    let mut nothing: Vec<(), _> = Vec::new_in(lent);
    nothing.resize(1000, ());
    assert_eq!(nothing.len(), 1000);
    let boxed = Box::new_in([7_u64; 50], lent);
    let unsized_box: Box<[u64], _> = Box::slice(boxed);
    assert_eq!(black_box(unsized_box).iter().sum::<u64>(), 350);
    let empty = Box::new_in([0_u64; 0], lent);
    assert!(black_box(empty).is_empty());
    let mut map: Map<std::string::String, Box<u64, _>, _> =
        HashMap::with_hasher_in(DefaultHashBuilder::default(), lent);
    for number in 0..count as u64 / 8 {
        map.insert(number.to_string(), Box::new_in(number, lent));
    }
    map.retain(|_, number| **number % 2 == 0);
    map.shrink_to_fit();
    assert!(map.iter().all(|(name, number)| *name == number.to_string()));
    assert_eq!(map.len(), (count / 8).div_ceil(2));
    assert!(!map.contains_key("1"));
    let mut odd: HashSet<u64, _, _> = HashSet::with_hasher_in(DefaultHashBuilder::default(), lent);
    odd.extend((0..count as u64 / 8).filter(|number| number % 2 == 1));
    assert_eq!(odd.len(), count / 16);
    let mut text = collections::String::new_in(allocator);
    text.extend(["one", " and ", "two"]);
    let shared: collections::Rc<str, _> = collections::Rc::from_str_in(&text, allocator);
    let owners = [shared.clone(), shared];
    assert!(owners.iter().all(|owner| **owner == *text));
    #[cfg(feature = "nightly")]
    use_the_standard_librarys(allocator, count as u64 / 8);
}

/// The same with what takes an allocator on nightly only.
#[cfg(feature = "nightly")]
fn use_the_standard_librarys<A: Allocator>(allocator: &A, count: u64) {
    use std::collections::{BTreeMap, BinaryHeap, VecDeque};

    let lent = AllocatorAdaptor::new(allocator);
    let mut sorted = BTreeMap::new_in(lent);
    (0..count).rev().for_each(|number| _ = sorted.insert(number * 7 % 101, number.to_string()));
    assert!(sorted.keys().is_sorted());
    let mut queue = VecDeque::new_in(lent);
    for number in 0..count {
        queue.push_back(number);
        if number % 3 == 2 {
            queue.pop_front();
        }
    }
    assert_eq!(queue.front(), Some(&(count / 3)));
    let mut heap = BinaryHeap::new_in(lent);
    heap.extend(queue.iter().copied());
    assert_eq!(heap.pop(), Some(count - 1));
    let shared = std::rc::Rc::new_in([1_u8; 33], lent);
    assert_eq!(std::rc::Rc::strong_count(&shared.clone()), 2);
    let shared = std::sync::Arc::new_in(7, lent);
    assert_eq!(*shared.clone(), 7);
    let mut numbers = std::vec::Vec::new_in(lent);
    numbers.extend(queue.iter().copied());
    let boxed = std::boxed::Box::new_in(numbers.iter().sum::<u64>(), lent);
    assert_eq!(*boxed, queue.iter().sum());
}

#[test]
fn collections_on_each_allocator() {
    let source = Source::new(MmapSource::new());
    let bump = BumpAllocator::new(&source);
    use_collections(&bump, 1 << 20);
    drop(bump);
    let size_class = SizeClassAllocator::new(&source);
    use_collections(&size_class, 32 << 10);
    let held = source.counts().bytes;
    (0..5).for_each(|_| use_collections(&size_class, 32 << 10));
    assert!(source.counts().bytes <= 2 * held, "freed blocks are used again");
    drop(size_class);
    let bit_set = BitSetAllocator::new(&source);
    use_collections(&bit_set, 1 << 20);
    drop(bit_set);
    let tree = MultipleBinarySearchTreeAllocator::new(&source);
    use_collections(&tree, 1 << 20);
    drop(tree);
    for lifetime in [Lifetime::Short, Lifetime::Medium, Lifetime::Long] {
        use_collections(&ContextAllocator::new(&source, lifetime), 1 << 20);
    }
    use_collections(&MmapAllocator::new_in(&source), 32 << 10);
    source.assert_all_released();
    let locked = Locked::new(SizeClassAllocator::new(&source));
    thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(|| use_collections(&locked, 32 << 10)))));
    drop(locked);
    source.assert_all_released();
    use_collections(&GlobalAllocToAllocatorAdaptor::new(&System), 1 << 20);
    use_collections(&AllocToAllocatorAdaptor::new(Global), 1 << 20);
    use_collections(&Rc::new(BumpAllocator::new(MmapSource::new())), 1 << 20);
    use_collections(&Arc::new(Locked::new(BumpAllocator::new(MmapSource::new()))), 1 << 20);
}

/// A collection may own its allocator, move with it to another thread, and take it along when it is
/// dropped.
#[test]
fn a_collection_owns_its_allocator() {
    let source = Arc::new(Source::new(MmapSource::new()));
    let mut numbers = Vec::new_in(BumpAllocator::new(source.clone()).adapt());
    numbers.extend(0..1000);
    let numbers = black_box(numbers);
    let sum: i32 = thread::spawn(move || numbers.iter().sum()).join().expect("no check failed");
    assert_eq!(sum, 499_500);
    source.assert_all_released();
    let shared = Rc::new(SizeClassAllocator::new(&*source));
    let first = Box::new_in(1, shared.clone().adapt());
    let mut map: Map<u32, u32, _> = HashMap::with_hasher_in(DefaultHashBuilder::default(), shared.adapt());
    map.extend((0..1000).map(|number| (number, number * 2)));
    assert_eq!((*first, map[&500]), (1, 1000));
    drop(first);
    assert_eq!(map.values().sum::<u32>(), 999_000);
    drop(map);
    source.assert_all_released();
}

#[test]
fn an_allocator_is_reset_between_collections() {
    let source = Source::new(MmapSource::new());
    let mut bump = BumpAllocator::new(&source);
    let mut most = 0;
    for round in 0..50 {
        use_collections(&bump, 256 << 10);
        bump.reset();
        most = most.max(source.counts().most_bytes);
        assert!(round == 0 || source.counts().held == 1);
    }
    assert!(most < 32 << 20, "{most} bytes for the same work");
}

/// `Vec` on a bump allocator grows where it is while nothing else is allocated.
#[test]
fn a_vector_alone_grows_in_place() {
    let bump = BumpAllocator::new(MmapSource::new());
    let mut numbers = Vec::with_capacity_in(1, &bump);
    numbers.push(0);
    let start = numbers.as_ptr();
    numbers.extend(1..1000);
    assert_eq!(numbers.as_ptr(), start);
}

/// Errors reach the collection, which is as it was.
#[test]
fn a_collection_survives_a_refusal() {
    let mut memory = [std::mem::MaybeUninit::uninit(); 4096];
    let bump = BumpAllocator::new(context_allocator::source::RegionSource::new(&mut memory));
    let mut numbers: Vec<u64, _> = Vec::new_in(&bump);
    let mut reached = 0;
    while numbers.try_reserve(1).is_ok() {
        numbers.push(reached);
        reached += 1;
    }
    assert!((200..=512).contains(&reached), "{reached} numbers of 8 bytes in 4096");
    assert!(numbers.iter().copied().eq(0..reached));
    assert!(numbers.try_reserve(isize::MAX as usize / 8 - 1000).is_err());
    let lent: &dyn ForeignAllocator = &&bump;
    assert!(Box::try_new_in([0_u8; 8192], lent).is_err());
}

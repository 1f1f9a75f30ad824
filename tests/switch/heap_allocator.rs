//! A heap as an allocator, what is current, and whose a value is.

use std::panic::{AssertUnwindSafe, RefUnwindSafe, UnwindSafe, catch_unwind};
use std::thread;

use crate::support::ledger::{Ledger, Taking};
use crate::support::model::{self, Profile};
use crate::support::{conformance, layout};
use context_allocator::switch::Owner;
use context_allocator::{AllocError, Allocator, Heap};

context_allocator::switchable_allocator!(static ALLOC);

const _: () = {
    const fn unwinds<T: UnwindSafe + RefUnwindSafe>() {}
    unwinds::<Heap<ALLOC>>();
};

fn heap() -> Heap<ALLOC> {
    ALLOC.heap().expect("memory for a heap")
}

#[test]
fn a_heap_keeps_the_contract_of_an_allocator() {
    conformance::allocator(heap);
    conformance::forwarded_allocator(heap);
    let heap = heap();
    model::run(&heap, Profile::SMALL.operations(200_000));
    model::run(&heap, Profile::MIXED.operations(50_000));
    assert_eq!(heap.statistics().live_blocks, 0);
}

/// Whatever is current, blocks are the heap's, and what is freed is used again.
#[test]
fn blocks_are_the_heaps_in_every_scope() {
    let (one, other) = (heap(), heap());
    let block = |heap: &Heap<ALLOC>| {
        let mut ledger = Ledger::new(heap);
        ledger.allocate(layout(100, 8)).expect("memory");
        let held = ledger.take_all().remove(0);
        assert_eq!(ALLOC.owner_of(held.bytes()), Owner::Heap(heap.id()));
        ledger.put(held);
        ledger.free_all();
    };
    block(&one);
    one.enter(|| block(&one));
    other.enter(|| block(&one));
    ALLOC.with_global(|| block(&one));
    one.enter(|| ALLOC.with_thread(|| block(&one)));
    assert_eq!((one.statistics().live_blocks, one.statistics().remote_frees), (0, 0));
    // In an outer scope it belongs to that one.
    one.enter(|| {
        other.enter(|| {
            assert_eq!(one.allocate(layout(1, 1)).map(drop), Err(AllocError::Entered));
            assert_eq!(ALLOC.current(), Owner::Heap(other.id()));
        });
    });
    // A block of the heap can be freed there.
    let mut ledger = Ledger::new(&one);
    ledger.allocate(layout(100, 8)).expect("memory");
    one.enter(|| other.enter(|| ledger.free_all()));
    assert_eq!(one.statistics().live_blocks, 0);
}

#[cfg(feature = "collections")]
#[test]
fn collections_in_a_heap() {
    use context_allocator::collections::{Box as BoxIn, HashMap, Rc, String as StringIn, Vec as VecIn};

    let heap = heap();
    let mut words = HashMap::new_in(&heap);
    for word in "the quick fox and the lazy dog".split(' ') {
        *words.entry(StringIn::from_str_in(word, &heap)).or_insert(0) += 1;
    }
    let mut numbers = VecIn::new_in(&heap);
    numbers.extend(0..10_000_u64);
    let boxed = BoxIn::new_in([1_u8; 100_000], &heap);
    let shared: Rc<str, _> = Rc::from_str_in("shared", &heap);
    assert_eq!((words["the"], numbers.len(), boxed.len(), &*shared), (2, 10_000, 100_000, "shared"));
    let owner = Owner::Heap(heap.id());
    assert_eq!(ALLOC.owner_of(numbers.as_slice()), owner);
    assert_eq!(ALLOC.owner_of(&*boxed), owner);
    assert_eq!(ALLOC.owner_of(words.keys().next().expect("a word").as_str()), owner);
    let live = heap.statistics().live_blocks;
    assert_eq!(live, 6 + 1 + 1 + 1 + 1, "words, their table, numbers, box and text");
    drop((words, numbers, boxed, shared));
    assert_eq!(heap.statistics().live_blocks, 0);
    // Behind the switchable allocator itself, a collection follows the context.
    let follows = heap.enter(|| {
        let mut follows = VecIn::new_in(&ALLOC);
        follows.push(1);
        follows
    });
    assert_eq!(ALLOC.owner_of(follows.as_slice()), owner);
}

#[test]
fn whose_a_value_is() {
    let heap = heap();
    let block = |f: &dyn Fn() -> Owner| f();
    for size in [1, 100, 5_000, 100_000, 5 << 20] {
        let owner = || {
            let mut ledger = Ledger::new(&ALLOC);
            ledger.allocate(layout(size, 8)).expect("memory");
            let held = ledger.take_all().remove(0);
            let owner = ALLOC.owner_of(held.bytes());
            let elsewhere = thread::scope(|scope| scope.spawn(|| ALLOC.owner_of(held.bytes())).join());
            assert_eq!(elsewhere.expect("it does not panic"), owner);
            ledger.put(held);
            ledger.free_all();
            owner
        };
        assert_eq!(block(&owner), Owner::Thread, "{size}");
        assert_eq!(heap.enter(|| block(&owner)), Owner::Heap(heap.id()), "{size}");
        assert_eq!(ALLOC.with_global(|| block(&owner)), Owner::Global, "{size}");
    }
    let (local, on_the_heap) = (1, Box::new(1));
    assert_eq!([ALLOC.owner_of(&local), ALLOC.owner_of(&*on_the_heap)], [Owner::Global; 2]);
    assert_eq!([ALLOC.owner_of(""), ALLOC.owner_of(&[0_u8; 0])], [Owner::Global; 2]);
    // A value of no bytes lies nowhere, also at the end of a block, where another's may begin.
    let mut ledger = Ledger::new(&heap);
    ledger.allocate(layout(64, 8)).expect("memory");
    let held = ledger.take_all().remove(0);
    assert_eq!(ALLOC.owner_of(held.bytes()), Owner::Heap(heap.id()));
    assert_eq!(ALLOC.owner_of(&held.bytes()[held.len()..]), Owner::Global);
    ledger.put(held);
    ledger.free_all();
    drop(ledger);
    let others = self::heap();
    assert_ne!(heap.id(), others.id());
}

#[test]
fn what_is_current() {
    let heap = heap();
    let inside = Owner::Heap(heap.id());
    let all = || {
        let thread = ALLOC.with_thread(|| ALLOC.current());
        [ALLOC.current(), thread, ALLOC.with_global(|| ALLOC.current())]
    };
    assert_eq!(all(), [Owner::Thread, Owner::Thread, Owner::Global]);
    assert_eq!(heap.enter(all), [inside, Owner::Thread, Owner::Global]);
    let saved = heap.enter(|| ALLOC.switch(Default::default()));
    assert_eq!(ALLOC.current(), Owner::Thread);
    let host = ALLOC.switch(saved);
    assert_eq!(ALLOC.current(), inside);
    drop(ALLOC.switch(host));
    let caught = catch_unwind(AssertUnwindSafe(|| heap.enter(|| panic!("in the heap"))));
    assert!(caught.is_err() && ALLOC.current() == Owner::Thread);
}

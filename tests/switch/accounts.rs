//! Accounts hold what their heaps and the accounts below them hold, at every moment and on
//! whichever thread blocks are freed, and nothing at the end.

use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::thread;

use crate::support::forking::in_a_child;
use crate::support::layout;
use crate::support::ledger::{Ledger, Taking};
use context_allocator::source::PooledSource;
use context_allocator::switch::{
    Account, HeapState, LimitAction, LimitReached, MoveError, Policy, RecommendedTiers, RefusingPolicy,
    SavedContext, recommended_tiers,
};
use context_allocator::{Allocator, Heap, NonZeroLayout};

macro_rules! declare {
    ($($policy:ty)?) => {
        context_allocator::switchable_allocator!(static ALLOC $(: RecommendedTiers<$policy> = recommended_tiers())?);
    };
}

#[test]
fn an_account_holds_what_is_below_it() {
    declare!();
    let process = ALLOC.account("process").unwrap();
    let tenants = [process.child("one").unwrap(), process.child("two").unwrap()];
    let mut ledger = Ledger::new(&ALLOC);
    let heaps: Vec<_> = (0..20).map(|n| tenants[n % 2].heap().unwrap()).collect();
    for (number, heap) in heaps.iter().enumerate() {
        heap.enter(|| ledger.allocate(layout(1 << (number + 3), 8)).unwrap());
    }
    let held = |heaps: &mut dyn Iterator<Item = &Heap<ALLOC>>| -> usize {
        heaps.map(|heap| heap.statistics().held_bytes).sum()
    };
    let [one, two] = tenants.each_ref().map(|tenant| tenant.statistics());
    assert_eq!(one.held_bytes, held(&mut heaps.iter().step_by(2)));
    assert_eq!(two.held_bytes, held(&mut heaps.iter().skip(1).step_by(2)));
    let all = process.statistics();
    assert_eq!((all.held_bytes, all.heaps), (one.held_bytes + two.held_bytes, 0));
    assert_eq!((one.heaps, two.heaps), (10, 10));
    assert!(all.peak_bytes == all.held_bytes && all.total_bytes >= all.peak_bytes as u64);
    // Freed elsewhere, after the handles are gone.
    drop(heaps);
    assert_eq!(process.statistics().held_bytes, all.held_bytes);
    let held = ledger.take_all();
    thread::spawn(move || {
        let mut ledger = Ledger::new(&ALLOC);
        held.into_iter().for_each(|held| ledger.put(held));
        ledger.free_all();
    })
    .join()
    .unwrap();
    let after = process.statistics();
    assert_eq!((after.held_bytes, after.peak_bytes), (0, all.peak_bytes));
    assert!(tenants.iter().all(|tenant| tenant.statistics().heaps == 0));
    process.reset_peak();
    assert_eq!(process.statistics().peak_bytes, 0);
}

#[test]
fn the_limit_of_any_account_above_holds() {
    declare!();
    let process = ALLOC.account("process").unwrap();
    let tenant = process.child("tenant").unwrap();
    let query = tenant.child("query").unwrap();
    tenant.set_limit(64 * 1024);
    let heaps = [query.heap().unwrap(), tenant.heap().unwrap()];
    let neighbour = process.heap().unwrap();
    let mut ledger = Ledger::new(&ALLOC);
    for heap in &heaps {
        heap.enter(|| {
            for _ in 0..30 {
                ledger.allocate(layout(1000, 8)).unwrap();
            }
        });
        assert_eq!(heap.check(), Ok(()));
    }
    heaps[0].enter(|| ledger.allocate(layout(10_000, 8)).unwrap());
    let error = heaps[0].check().unwrap_err();
    assert_eq!((error.account.as_str(), error.limit, error.requested), ("tenant", 64 * 1024, 10_000));
    assert!(error.to_string().contains("\"tenant\" went over its limit of 65536 bytes"), "{error}");
    // What was spilled is charged to all of them.
    assert_eq!(error.held, tenant.statistics().held_bytes);
    assert!(error.held > 48 * 1024 + 10_000, "all but the region of 16 KiB, and what was spilled");
    assert_eq!(process.statistics().held_bytes, error.held);
    // Others go on.
    assert_eq!(heaps[1].check(), Ok(()));
    neighbour.enter(|| ledger.allocate(layout(100_000, 8)).unwrap());
    assert_eq!(neighbour.check(), Ok(()));
    assert_eq!(ALLOC.statistics().spilled_blocks, 1);
    ledger.free_all();
    drop((heaps, neighbour));
    assert_eq!(process.statistics().held_bytes, 0);
}

#[test]
fn an_account_that_refuses_counts_it() {
    declare!(RefusingPolicy);
    let tenant = ALLOC.account("tenant").unwrap();
    tenant.set_limit(10_000);
    let heap = tenant.heap_options().limit(1 << 20).make().unwrap();
    let mut ledger = Ledger::new(&ALLOC);
    heap.enter(|| {
        assert!(ledger.allocate(layout(20_000, 8)).is_err());
        assert!(ledger.allocate(layout(5_000, 8)).is_ok());
        assert!(ledger.allocate(layout(200_000, 8)).is_err());
        ledger.free_all();
    });
    assert_eq!(tenant.statistics().refused, 2);
    assert_eq!((heap.check(), tenant.statistics().held_bytes), (Ok(()), heap.statistics().held_bytes));
}

/// The heaps of one account after another, in the same control block, whose region is kept.
#[test]
fn a_kept_region_is_charged_to_one_account_at_a_time() {
    declare!();
    let accounts: Vec<_> = (0..4).map(|n| ALLOC.account(&n.to_string()).unwrap()).collect();
    accounts[3].set_limit(512);
    for round in 0..1000 {
        let account = &accounts[round % 4];
        let heap = account.heap().unwrap();
        if round % 4 < 3 {
            let kept = heap.enter(|| ALLOC.allocate(layout(700, 8)).unwrap());
            assert_eq!(account.statistics().held_bytes, heap.statistics().held_bytes);
            // SAFETY: Just allocated with this layout, and not used.
            unsafe { ALLOC.deallocate(kept.cast(), layout(700, 8)) };
        } else {
            // The region that the control block kept is more than this account has room for.
            assert_eq!(heap.statistics().held_bytes, 0);
        }
        drop(heap);
        assert!(accounts.iter().all(|account| account.statistics().held_bytes == 0), "round {round}");
    }
}

#[test]
fn accounts_move_with_what_they_hold() {
    declare!();
    let [first, second] = ["first", "second"].map(|name| ALLOC.account(name).unwrap());
    let tenant = first.child("tenant").unwrap();
    let query = tenant.child("query").unwrap();
    let heap = query.heap().unwrap();
    let mut ledger = Ledger::new(&ALLOC);
    heap.enter(|| ledger.allocate(layout(5000, 8)).unwrap());
    let held = heap.statistics().held_bytes;
    let held_by = |account: &Account<ALLOC>| account.statistics().held_bytes;
    assert_eq!(tenant.move_to(Some(&second)), Ok(()));
    assert_eq!([&first, &second, &tenant, &query].map(held_by), [0, held, held, held]);
    assert_eq!(tenant.move_to(Some(&query)), Err(MoveError::Circle));
    assert_eq!(tenant.move_to(Some(&tenant)), Err(MoveError::Circle));
    first.set_limit(held - 1);
    assert_eq!(tenant.move_to(Some(&first)), Err(MoveError::LimitReached));
    assert_eq!([&first, &second, &tenant].map(held_by), [0, held, held]);
    // Within one tree, the account above both is charged once, whatever its limit.
    let other = second.child("other").unwrap();
    second.set_limit(held);
    assert_eq!(tenant.move_to(Some(&other)), Ok(()));
    assert_eq!([&second, &other].map(held_by), [held, held]);
    assert_eq!(tenant.move_to(None), Ok(()));
    assert_eq!([&second, &other, &tenant].map(held_by), [0, 0, held]);
    heap.enter(|| ledger.free_all());
    drop(heap);
    assert_eq!([&first, &second, &tenant, &query].map(held_by), [0; 4]);
}

#[test]
fn callbacks_run_from_below_once() {
    declare!();
    let ran = Arc::new(Mutex::new(Vec::new()));
    let note = |text: &'static str| {
        let ran = Arc::clone(&ran);
        move || ran.lock().unwrap().push(text)
    };
    let process = ALLOC.account("process").unwrap();
    process.on_reset(note("process, first"));
    process.on_reset(note("process, second"));
    let tenant = process.child("tenant").unwrap();
    let queries = [tenant.child("a").unwrap(), tenant.child("b").unwrap()];
    tenant.on_reset(note("tenant"));
    queries[0].on_reset(note("a"));
    queries[1].on_reset(note("b"));
    let empty = process.child("without callbacks").unwrap();
    tenant.reset();
    let took = || std::mem::take(&mut *ran.lock().unwrap());
    let order = took();
    assert_eq!(order.len(), 3, "{order:?}");
    assert_eq!(order[2], "tenant");
    queries[1].on_reset(note("b again"));
    process.reset();
    assert_eq!(took(), ["b again", "process, second", "process, first"]);
    // The last handle runs them too.
    let handle = tenant.clone();
    tenant.on_reset(note("dropped"));
    drop(tenant);
    assert!(took().is_empty());
    drop(handle);
    assert_eq!(took(), ["dropped"]);
    drop((queries, empty, process));
    assert!(took().is_empty());
    assert!(ALLOC.accounts().is_empty());
}

#[test]
fn a_name_stays_with_the_last_block() {
    declare!();
    let tenant = ALLOC.account("tenant").unwrap();
    let heap = ALLOC.heap_options().name("GET /").account(&tenant).make().unwrap();
    let plain = ALLOC.heap().unwrap();
    let mut ledger = Ledger::new(&ALLOC);
    heap.enter(|| ledger.allocate(layout(100, 8)).unwrap());
    assert_eq!((heap.name().as_str(), plain.name().as_str()), ("GET /", ""));
    let id = heap.id();
    drop(heap);
    let infos = ALLOC.heaps();
    let info = infos.iter().find(|info| info.id == id).unwrap();
    assert_eq!(
        (info.name.as_str(), info.state, info.statistics.live_blocks),
        ("GET /", HeapState::Orphan, 1)
    );
    let accounts = ALLOC.accounts();
    let own = accounts.iter().find(|account| Some(account.id) == info.account).unwrap();
    assert_eq!((own.name.as_str(), own.parent), ("GET /", Some(tenant.id())));
    ledger.free_all();
    assert_eq!(ALLOC.heaps().len(), 1);
    assert_eq!(ALLOC.accounts().len(), 1);
    drop((plain, tenant));
    assert!(ALLOC.accounts().is_empty());
}

/// Half of the requests beyond a limit are refused, others take from a reserve or spill.
struct Mixed;

static TURN: AtomicUsize = AtomicUsize::new(0);

impl Policy for Mixed {
    type Large = PooledSource;
    const LARGE: &'static PooledSource = &PooledSource::new();
    fn limit_reached(_: LimitReached) -> LimitAction {
        match TURN.fetch_add(1, Relaxed) % 4 {
            0 => LimitAction::Spill,
            1 => LimitAction::Reserve(100_000),
            _ => LimitAction::Refuse,
        }
    }
}

context_allocator::switchable_allocator!(static MIXED: RecommendedTiers<Mixed> = recommended_tiers());

/// A block with its number at both ends.
struct Block {
    start: NonNull<u8>,
    layout: NonZeroLayout,
    number: u8,
}

// SAFETY: The bytes are the holder's alone, and any thread may free them.
unsafe impl Send for Block {}

impl Block {
    fn new(size: usize, number: u8) -> Option<Self> {
        let layout = layout(size, 8);
        let start = MIXED.allocate(layout).ok()?.cast::<u8>();
        let block = Self { start, layout, number };
        block.ends().into_iter().for_each(|end| {
            // SAFETY: The block was just allocated, and holds both bytes.
            unsafe { end.write(number) };
        });
        Some(block)
    }

    fn ends(&self) -> [NonNull<u8>; 2] {
        // SAFETY: The last byte lies in the block.
        [self.start, unsafe { self.start.add(self.layout.size() - 1) }]
    }

    fn free(self) {
        for end in self.ends() {
            // SAFETY: The block is allocated, and both bytes were written.
            assert_eq!(unsafe { end.read() }, self.number);
        }
        // SAFETY: The block is allocated with this layout, and given up.
        unsafe { MIXED.deallocate(self.start, self.layout) };
    }
}

/// A heap that is entered in a context which no thread has.
type Suspended = (SavedContext<MIXED>, Box<Heap<MIXED>>);

/// Heaps and blocks on their way between threads, and the accounts.
struct Exchange {
    heaps: Mutex<Vec<Heap<MIXED>>>,
    contexts: Mutex<Vec<Suspended>>,
    blocks: Mutex<Vec<Block>>,
    accounts: Vec<Account<MIXED>>,
}

fn size(random: &mut fastrand::Rng) -> usize {
    match random.u8(..) {
        0 => random.usize(1..600_000),
        1..=20 => random.usize(1..20_000),
        _ => random.usize(1..300),
    }
}

/// Does one thing of many; how many blocks were allocated or freed.
fn step(exchange: &Exchange, random: &mut fastrand::Rng) -> usize {
    let put = |block| exchange.blocks.lock().unwrap().push(block);
    let some = |random: &mut fastrand::Rng| {
        let mut blocks = exchange.blocks.lock().unwrap();
        (!blocks.is_empty()).then(|| blocks.len()).map(|len| blocks.swap_remove(random.usize(..len)))
    };
    match random.u8(..16) {
        // A heap's life, on this thread: some of its blocks are freed inside, others escape.
        0..=8 => {
            let account = random.choice(&exchange.accounts).unwrap();
            let mut options = account.heap_options();
            if random.bool() {
                options = options.limit(random.usize(1000..200_000));
            }
            if random.u8(..) < 30 {
                options = options.name("named");
            }
            let heap = options.make().unwrap();
            let count = random.usize(..40);
            let mut blocks: Vec<_> = heap.enter(|| {
                let sizes: Vec<_> = (0..count).map(|_| size(random)).collect();
                sizes.into_iter().filter_map(|size| Block::new(size, random.u8(..))).collect()
            });
            let done = blocks.len();
            random.shuffle(&mut blocks);
            let escape = if random.u8(..) < 40 { random.usize(..=blocks.len()) } else { 0 };
            blocks.drain(..escape).for_each(put);
            if random.bool() {
                heap.enter(|| blocks.into_iter().for_each(Block::free));
            } else {
                blocks.into_iter().for_each(Block::free);
            }
            match random.u8(..8) {
                0 => exchange.heaps.lock().unwrap().push(heap),
                // Cancelled midway: the heap is entered in a context that is suspended.
                1 => {
                    let heap = Box::new(heap);
                    let outer = MIXED.switch(SavedContext::default());
                    let guard = heap.guard().unwrap();
                    if let Some(block) = Block::new(100, 1) {
                        put(block);
                    }
                    std::mem::forget(guard);
                    let context = MIXED.switch(outer);
                    exchange.contexts.lock().unwrap().push((context, heap));
                }
                _ => drop(heap),
            }
            2 * done - escape
        }
        // Somebody else's heap goes on here.
        9 | 10 => {
            let heap = exchange.heaps.lock().unwrap().pop();
            let Some(heap) = heap else { return 0 };
            let blocks: Vec<_> =
                heap.enter(|| (0..10).filter_map(|_| Block::new(size(random), random.u8(..))).collect());
            let done = blocks.len();
            blocks.into_iter().for_each(put);
            if random.bool() {
                exchange.heaps.lock().unwrap().push(heap);
            }
            done
        }
        // A suspended context goes on here, or is given up.
        11 => {
            let context = exchange.contexts.lock().unwrap().pop();
            let Some((context, heap)) = context else { return 0 };
            if random.bool() {
                drop((heap, context));
                return 0;
            }
            let host = MIXED.switch(context);
            if let Some(block) = Block::new(size(random), random.u8(..)) {
                put(block);
            }
            drop((MIXED.switch(host), heap));
            1
        }
        12 | 13 => {
            let mut done = 0;
            while let Some(block) = some(random) {
                block.free();
                done += 1;
                if done == 50 {
                    break;
                }
            }
            done
        }
        14 => {
            let child = random.choice(&exchange.accounts[1..]).unwrap();
            let parent = random.choice(&exchange.accounts).unwrap();
            let _ = child.move_to(if random.bool() { Some(parent) } else { None });
            0
        }
        _ => {
            let account = random.choice(&exchange.accounts[1..]).unwrap();
            account.set_limit(random.usize(100_000..10_000_000));
            0
        }
    }
}

/// `ACCOUNT_OPERATIONS` sets how many blocks are allocated and freed in all.
#[test]
fn accounts_are_exact_after_mixed_operations_on_four_threads() {
    let asked = std::env::var("ACCOUNT_OPERATIONS").ok();
    let operations = asked.map_or(1_000_000, |asked| asked.parse::<usize>().expect("a number")) / 4;
    let process = MIXED.account("process").unwrap();
    let mut accounts = vec![process];
    for number in 0..7 {
        let parent = &accounts[number / 2];
        accounts.push(parent.child(&number.to_string()).unwrap());
    }
    let exchange =
        Exchange { heaps: Mutex::default(), contexts: Mutex::default(), blocks: Mutex::default(), accounts };
    thread::scope(|scope| {
        for seed in 0..4 {
            let exchange = &exchange;
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                let mut done = 0;
                while done < operations {
                    done += step(exchange, &mut random);
                }
            });
        }
    });
    exchange.contexts.into_inner().unwrap().clear();
    exchange.heaps.into_inner().unwrap().clear();
    exchange.blocks.into_inner().unwrap().into_iter().for_each(Block::free);
    let statistics = MIXED.statistics();
    assert_eq!((statistics.orphans, statistics.heaps_alive, statistics.heap_blocks), (0, 0, 0));
    assert!(statistics.spilled_blocks > 0 && statistics.refused > 0);
    for account in &exchange.accounts {
        let statistics = account.statistics();
        assert_eq!((statistics.held_bytes, statistics.heaps), (0, 0), "{account:?}");
        assert!(statistics.total_bytes > 0);
    }
    assert_eq!(MIXED.accounts().len(), 8, "named heaps took their accounts with them");
}

#[test]
fn a_child_of_a_fork_goes_on_with_the_accounts() {
    declare!();
    let tenant = ALLOC.account("tenant").unwrap();
    let stop = AtomicUsize::new(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            while stop.load(Relaxed) == 0 {
                let child = tenant.child("other").unwrap();
                let heap = child.heap().unwrap();
                let mut ledger = Ledger::new(&ALLOC);
                heap.enter(|| ledger.allocate(layout(3000, 8)).unwrap());
                ledger.free_all();
            }
        });
        for _ in 0..50 {
            in_a_child(|| {
                let query = tenant.child("query").unwrap();
                let heap = query.heap().unwrap();
                let mut ledger = Ledger::new(&ALLOC);
                heap.enter(|| ledger.allocate(layout(5000, 8)).unwrap());
                assert_eq!(query.statistics().held_bytes, heap.statistics().held_bytes);
                ledger.free_all();
                drop(heap);
                assert_eq!(query.statistics().held_bytes, 0);
            });
        }
        stop.store(1, Relaxed);
    });
}

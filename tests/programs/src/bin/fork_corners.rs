//! Corners of forks and of threads that end, one for each name. Each must end well.

use std::ffi::c_void;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::time::Duration;

use context_allocator::size::U65536;
use context_allocator::{Allocator, ArenaSource, Builder, BumpAllocator, MemorySource, MmapSource, NonZeroLayout, Tiers};
use context_allocator::error::SourceError;
use context_allocator::source::Obtained;
use context_allocator::switch::{CountingPolicy, NoTier, RecommendedTiers, recommended_tiers};

context_allocator::switchable_allocator!(static FIRST);
context_allocator::switchable_allocator!(static SECOND);
context_allocator::switchable_allocator!(
    static COUNTING: RecommendedTiers<CountingPolicy> = recommended_tiers::<CountingPolicy>()
);
context_allocator::switchable_allocator!(
    static SLOW: Tiers<BumpAllocator<OverSlow>, NoTier, std::alloc::System> = Builder::new()
        .coroutine_tier(BumpAllocator::new(ArenaSource::new_in(Slow)))
        .without_thread_tier()
        .global_tier(std::alloc::System)
        .build()
);

/// Memory maps that take their time, as on a machine that is short of memory.
#[derive(Debug)]
struct Slow;

type OverSlow = ArenaSource<Slow, U65536, U65536>;

static SLOWNESS: AtomicU32 = AtomicU32::new(0);

// SAFETY: Regions are those of memory maps, passed on as they are.
unsafe impl MemorySource for Slow {
    const MIN_ALIGN: usize = MmapSource::MIN_ALIGN;

    fn obtain(&self, layout: NonZeroLayout) -> Result<std::ptr::NonNull<[u8]>, SourceError> {
        Ok(self.obtain_between(layout, layout.size())?.region)
    }

    fn obtain_between(&self, least: NonZeroLayout, preferred: usize) -> Result<Obtained, SourceError> {
        std::thread::sleep(Duration::from_millis(SLOWNESS.load(Relaxed).into()));
        MmapSource::new().obtain_between(least, preferred)
    }

    unsafe fn release(&self, region: std::ptr::NonNull<[u8]>, layout: NonZeroLayout) {
        // SAFETY: The caller's promises.
        unsafe { MmapSource::new().release(region, layout) }
    }

    unsafe fn before_fork(&self) {
        for arena in &ARENAS {
            // SAFETY: The caller's promises.
            unsafe { arena.before_fork() };
        }
    }

    unsafe fn after_fork(&self) {
        for arena in &ARENAS {
            // SAFETY: The caller's promises.
            unsafe { arena.after_fork() };
        }
    }
}

/// Sources that the slow one stands on, for all that a fork knows.
static ARENAS: [ArenaSource<MmapSource>; 8] = [const { ArenaSource::new(MmapSource::new()) }; 8];

/// What a fork handler does that runs between those of the library and the fork.
static BETWEEN: AtomicUsize = AtomicUsize::new(NOTHING);
const NOTHING: usize = 0;
const WAIT: usize = 1;
const FORK: usize = 2;
static IN_FORK: AtomicBool = AtomicBool::new(false);

unsafe extern "C" fn between() {
    match BETWEEN.load(Relaxed) {
        WAIT => {
            IN_FORK.store(true, SeqCst);
            std::thread::sleep(Duration::from_millis(300));
        }
        FORK => {
            BETWEEN.store(NOTHING, Relaxed);
            drop(SECOND.heap());
            fork(|| drop(SECOND.heap()));
        }
        _ => {}
    }
}

extern "C" fn register() {
    // SAFETY: The handler is a function of the program.
    unsafe { libc::pthread_atfork(Some(between), None, None) };
}

// Before the library's handlers, so that this one runs after them.
#[used]
// SAFETY: The section holds pointers to functions of this type.
#[unsafe(link_section = ".preinit_array")]
static REGISTER: extern "C" fn() = register;

fn layout(size: usize) -> NonZeroLayout {
    NonZeroLayout::from_size_align(size, 8).expect("a layout")
}

fn allocate_and_free(allocator: &impl Allocator, size: usize, count: usize) {
    let blocks: Vec<_> = (0..count).map(|_| allocator.allocate(layout(size)).expect("memory")).collect();
    for block in blocks {
        // SAFETY: Just allocated with this layout, and used by nobody.
        unsafe { allocator.deallocate(block.cast(), layout(size)) };
    }
}

/// Runs `f` in a child, which must end well within ten seconds.
fn fork(f: impl FnOnce()) {
    // SAFETY: The child does what a child may whose allocator's locks are free, and ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: Always callable.
        unsafe { libc::alarm(10) };
        f();
        // SAFETY: Always callable.
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    // SAFETY: The status is writable.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(status, 0, "the child hung or failed");
}

/// Waits until a fork is under way, then runs `f` on a thread.
fn while_forking(after: u64, f: impl FnOnce() + Send + 'static) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        while !IN_FORK.load(SeqCst) {
            std::thread::yield_now();
        }
        std::thread::sleep(Duration::from_millis(after));
        f();
    })
}

/// A thread first uses a declaration in the last round of its keys' destructors: the declaration's
/// own will not run.
fn last_destructor() {
    static KEY: AtomicU32 = AtomicU32::new(0);
    unsafe extern "C" fn again(round: *mut c_void) {
        if round.addr() < 4 {
            let next = std::ptr::without_provenance::<c_void>(round.addr() + 1);
            // SAFETY: The key exists.
            unsafe { libc::pthread_setspecific(KEY.load(Relaxed), next) };
        } else {
            assert!(COUNTING.allocate(layout(100)).is_ok());
        }
    }
    extern "C" fn body(_: *mut c_void) -> *mut c_void {
        // SAFETY: The key exists.
        unsafe { libc::pthread_setspecific(KEY.load(Relaxed), std::ptr::without_provenance(1)) };
        std::ptr::null_mut()
    }
    assert!(COUNTING.allocate(layout(100)).is_ok());
    let mut key = 0;
    // SAFETY: The key is writable.
    assert_eq!(unsafe { libc::pthread_key_create(&raw mut key, Some(again)) }, 0);
    KEY.store(key, Relaxed);
    let mut attributes = std::mem::MaybeUninit::uninit();
    // SAFETY: The attributes are writable.
    unsafe { libc::pthread_attr_init(attributes.as_mut_ptr()) };
    // So large that the C library unmaps it when the thread is gone.
    // SAFETY: The attributes were initialised.
    unsafe { libc::pthread_attr_setstacksize(attributes.as_mut_ptr(), 256 << 20) };
    let mut thread = 0;
    // SAFETY: The attributes were initialised, and the body takes no argument.
    let made =
        unsafe { libc::pthread_create(&raw mut thread, attributes.as_ptr(), body, std::ptr::null_mut()) };
    assert_eq!(made, 0);
    // SAFETY: The thread was made, and is joined once.
    unsafe { libc::pthread_join(thread, std::ptr::null_mut()) };
    assert_eq!(COUNTING.statistics().thread.blocks_allocated, 2);
    fork(|| assert_eq!(COUNTING.statistics().thread.blocks_allocated, 2));
}

/// A fork handler between the library's and the fork uses another declaration for the first time,
/// and forks.
fn nested() {
    drop(FIRST.heap());
    for _ in 0..3 {
        BETWEEN.store(FORK, Relaxed);
        fork(|| allocate_and_free(&SECOND, 100, 100));
        std::thread::spawn(|| drop(SECOND.heap())).join().expect("the thread ends well");
        allocate_and_free(&FIRST, 1000, 1000);
    }
}

/// Other threads first use a declaration while one forks: the child finds it whole, and its threads
/// have heaps.
fn first_use() {
    drop(FIRST.heap());
    BETWEEN.store(WAIT, Relaxed);
    SLOWNESS.store(400, Relaxed);
    let use_slow = || {
        let heap = SLOW.heap().expect("memory for a heap");
        heap.enter(|| allocate_and_free(&SLOW, 100, 1));
    };
    let threads = [
        while_forking(50, use_slow),
        while_forking(100, use_slow),
        while_forking(50, || allocate_and_free(&SECOND, 100, 10)),
    ];
    fork(|| {
        use_slow();
        allocate_and_free(&SECOND, 100, 100);
        assert_eq!(SECOND.statistics().thread_heaps, 1, "the child's thread has no heap");
    });
    threads.into_iter().for_each(|thread| thread.join().expect("the thread ends well"));
    BETWEEN.store(NOTHING, Relaxed);
    fork(use_slow);
}

/// A thread holds locks of sources for a moment, as for a fork without handlers, while another one
/// forks.
fn by_hand() {
    drop(SLOW.heap());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Relaxed) {
                for arena in ARENAS.iter().rev() {
                    // SAFETY: It is given back below, on this thread.
                    unsafe { arena.before_fork() };
                    (0..50).for_each(|_| std::hint::spin_loop());
                    // SAFETY: It was held above.
                    unsafe { arena.after_fork() };
                    (0..300).for_each(|_| std::hint::spin_loop());
                }
            }
        });
        for _ in 0..1500 {
            fork(|| ARENAS.iter().for_each(|arena| assert_eq!(arena.usage().obtained, 0)));
        }
        stop.store(true, Relaxed);
    });
}

/// Figures in children, while other threads allocate and free.
fn figures() {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Relaxed) {
                    allocate_and_free(&COUNTING, 1000, 200);
                }
            });
        }
        for _ in 0..200 {
            fork(|| {
                let figures = COUNTING.statistics().thread;
                // What a thread adds to the totals at the very moment of the fork, at most 64 KiB
                // of blocks each, may be between its counters and the totals.
                assert!(figures.live_blocks() <= 400 + 2 * 66, "{figures:?}");
                assert!(figures.blocks_freed <= figures.blocks_allocated + 2 * 66, "{figures:?}");
            });
        }
        stop.store(true, Relaxed);
    });
}

/// Parent and child are both the first process of a namespace, so they have the same number.
fn namespaces() {
    // SAFETY: Always callable.
    if unsafe { libc::unshare(libc::CLONE_NEWPID) } != 0 {
        println!("no privilege to make a namespace");
        return;
    }
    fork(|| {
        let waiting: Vec<_> = (0..3)
            .map(|_| {
                std::thread::spawn(|| {
                    allocate_and_free(&COUNTING, 100, 10);
                    std::thread::sleep(Duration::from_secs(3));
                })
            })
            .collect();
        std::thread::sleep(Duration::from_millis(100));
        allocate_and_free(&COUNTING, 2 << 20, 16);
        // SAFETY: Always callable.
        assert_eq!(unsafe { libc::unshare(libc::CLONE_NEWPID) }, 0);
        fork(|| {
            assert_eq!(std::process::id(), 1);
            allocate_and_free(&COUNTING, 2 << 20, 16);
            std::thread::sleep(Duration::from_millis(1500));
            let pool = context_allocator::source::PooledSource::new().usage();
            assert!(pool.resident <= 1 << 20, "the pool of the child has no thread: {pool:?}");
            assert_eq!(COUNTING.statistics().thread.blocks_allocated, 30 + 32);
        });
        drop(waiting);
    });
}

fn main() {
    match std::env::args().nth(1).as_deref() {
        Some("last destructor") => last_destructor(),
        Some("nested") => nested(),
        Some("first use") => first_use(),
        Some("by hand") => by_hand(),
        Some("figures") => figures(),
        Some("namespaces") => namespaces(),
        other => panic!("no {other:?}"),
    }
    println!("fine");
}

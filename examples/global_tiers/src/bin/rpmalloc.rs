//! rpmalloc in the global tier, through a wrapper.
//!
//! rpmalloc wants to be initialised once, and then on each thread before its first allocation
//! there; and to be told when a thread ends, or that thread's heap is lost to the others. The crate
//! `rpmalloc` leaves that to rpmalloc's own `preload` mode, which replaces `malloc` and
//! `pthread_create` in the whole program, and gives all memory back before the last destructors
//! run. Here only the global tier is to be rpmalloc's, so this is the C library without that mode,
//! and what it asks for is done in [`RpMalloc`].

use std::alloc::{GlobalAlloc, Layout};
use std::ffi::{c_int, c_void};
use std::ptr::without_provenance;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use context_allocator::{ArenaSource, Builder, BumpAllocator, MmapSource};
use context_allocator::alloc::SizeClassAllocator;
use global_tiers::{With, run};

unsafe extern "C" {
    /// As rpmalloc.h declares it. The declaration in `rpmalloc-sys` lacks the argument.
    fn rpmalloc_thread_finalize(release_caches: c_int);
}

/// rpmalloc as a `GlobalAlloc` that initialises itself.
///
/// It serves alignments up to 32 KiB (rpmalloc finds a block's span by its address, at multiples of
/// 64 KiB) and refuses larger ones.
struct RpMalloc;

const NEW: u8 = 0;
const BEGUN: u8 = 1;
const READY: u8 = 2;
static STATE: AtomicU8 = AtomicU8::new(NEW);
/// The key whose function runs at the end of each thread; valid from READY on.
static KEY: AtomicU32 = AtomicU32::new(0);

/// Sees to it that the calling thread may call rpmalloc.
#[inline(always)]
fn ready() {
    // SAFETY: Always callable: it looks at a thread-local variable.
    if unsafe { rpmalloc_sys::rpmalloc_is_thread_initialized() } == 0 {
        initialize();
    }
}

#[cold]
#[inline(never)]
fn initialize() {
    match STATE.compare_exchange(NEW, BEGUN, Acquire, Acquire) {
        Ok(_) => {
            let mut key = 0;
            // SAFETY: `key` is writable, and `end_of_thread` is a function for as long as the
            // process lives.
            let made = unsafe { libc::pthread_key_create(&raw mut key, Some(end_of_thread)) };
            KEY.store(if made == 0 { key } else { u32::MAX }, Relaxed);
            // SAFETY: The exchange lets one thread come here, and no other calls rpmalloc before
            // READY.
            unsafe { rpmalloc_sys::rpmalloc_initialize() };
            STATE.store(READY, Release);
        }
        Err(_) => {
            while STATE.load(Acquire) != READY {
                std::hint::spin_loop();
            }
        }
    }
    // SAFETY: rpmalloc is initialised.
    unsafe { rpmalloc_sys::rpmalloc_thread_initialize() };
    let key = KEY.load(Relaxed);
    if key != u32::MAX {
        // SAFETY: The key was made above. Where this fails, the thread's heap is not used again;
        // nothing worse.
        unsafe { libc::pthread_setspecific(key, without_provenance::<c_void>(1)) };
    }
}

/// Gives the thread's heap to those that come. What allocates even later on this thread initialises
/// it again, and this runs once more.
unsafe extern "C" fn end_of_thread(_: *mut c_void) {
    // SAFETY: rpmalloc is initialised; a thread without a heap may call this too.
    unsafe { rpmalloc_thread_finalize(1) };
}

// SAFETY: rpmalloc's blocks are as large and aligned as asked, or null; any thread that `ready` has
// seen may allocate and free. Nothing unwinds.
unsafe impl GlobalAlloc for RpMalloc {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ready();
        // SAFETY: The thread is initialised.
        unsafe { rpmalloc_sys::rpaligned_alloc(layout.align(), layout.size()) }.cast()
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        ready();
        // SAFETY: The thread is initialised.
        unsafe { rpmalloc_sys::rpaligned_calloc(layout.align(), 1, layout.size()) }.cast()
    }

    unsafe fn dealloc(&self, block: *mut u8, _: Layout) {
        ready();
        // SAFETY: The block is rpmalloc's, as the caller promises.
        unsafe { rpmalloc_sys::rpfree(block.cast()) };
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        ready();
        // SAFETY: The block is rpmalloc's and of that size, as the caller promises; no flags.
        unsafe { rpmalloc_sys::rpaligned_realloc(block.cast(), layout.align(), new_size, layout.size(), 0) }
            .cast()
    }
}

context_allocator::global_thread_and_coroutine_switchable_allocator!(
    static ALLOC: With<RpMalloc> = Builder::new()
        .coroutine_tier(BumpAllocator::new(ArenaSource::new(MmapSource::new())))
        .thread_tier(SizeClassAllocator::new(ArenaSource::new(MmapSource::new())))
        .global_tier(RpMalloc)
        .build();
);

fn main() {
    run("rpmalloc", &ALLOC);
}

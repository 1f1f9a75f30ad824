//! What happens when a thread ends, and around a fork.
//!
//! The end of a thread is seen through a key of the threads library, whose functions run after the destructors of Rust's
//! thread-locals, so that those can still allocate and free as before. What runs later still (other keys' functions) allocates
//! from the global tier and frees remotely.
//!
//! Around a fork all locks of the allocator are held, so that the child finds nothing half done. The lists that need no lock are
//! whole at any moment. What other threads' heaps hold is lost to the child, but its blocks can be freed there as everywhere.

use core::ffi::c_void;

use super::Policy;
use super::allocator::{PolicyOf, SwitchableAllocator};
use super::context::Stage;
use super::lifecycle::CACHED;
use super::tiers::{Declaration, StateOf, TierSet};
use crate::MemorySource;
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::{Acquire, Release};
use crate::sys;

/// Whether the hooks are set, and the key if so: one of the constants below, or the key's number plus `KEY`.
#[derive(Debug)]
pub(crate) struct Hooks(AtomicU64);

const UNSET: u64 = 0;
/// Some thread is about to set them. No lock, because a fork at this moment would leave it to the child for ever.
const SETTING: u64 = 1;
const REFUSED: u64 = 2;
const KEY: u64 = 3;

impl Hooks {
    crate::sync::const_fn! {
        pub(crate) fn new() -> Self {
            Self(AtomicU64::new(UNSET))
        }
    }
}

impl<D: Declaration> SwitchableAllocator<D> {
    /// Whether the end of the calling thread will be seen; sees to it if it can.
    #[inline]
    pub(super) fn armed(&self, state: &StateOf<D>) -> bool {
        match state.stage.get() {
            Stage::Armed => true,
            Stage::Detached => false,
            Stage::New => self.arm(state),
        }
    }

    #[cold]
    #[inline(never)]
    fn arm(&self, state: &StateOf<D>) -> bool {
        let hooks = self.set_hooks();
        if hooks == SETTING {
            // Another thread sets them just now: this one asks again the next time, and does without until then.
            return false;
        }
        let key = hooks.checked_sub(KEY).and_then(|number| u32::try_from(number).ok());
        let armed = key.is_some_and(|number| sys::ExitKey::from_number(number).arm().is_ok());
        state.stage.set(if armed { Stage::Armed } else { Stage::Detached });
        state.cache_limit.set(if armed { CACHED } else { 0 });
        if !armed {
            state.pending.flush_always(&self.totals);
        }
        armed
    }

    /// Sets the hooks, once; gives their state.
    fn set_hooks(&self) -> u64 {
        if let Err(state) = self.hooks.0.compare_exchange(UNSET, SETTING, Acquire, Acquire) {
            return state;
        }
        let forking = sys::at_fork(before_fork::<D>, after_fork::<D>);
        let state = match (forking, sys::ExitKey::new(thread_ends::<D>)) {
            (Ok(()), Ok(key)) => KEY + u64::from(key.number()),
            _ => REFUSED,
        };
        self.hooks.0.store(state, Release);
        state
    }
}

/// The end of a thread.
unsafe extern "C" fn thread_ends<D: Declaration>(_: *mut c_void) {
    D::allocator().detach(SwitchableAllocator::<D>::state());
}

/// Before a fork: takes all locks, in the order in which the allocator nests them. The global tier may stand on the source of another tier, whose
/// lock its users take while they hold its own: so sources come last.
unsafe extern "C" fn before_fork<D: Declaration>() {
    let allocator = D::allocator();
    allocator.parking.before_fork();
    allocator.coroutine_pool.before_fork();
    allocator.thread_pool.before_fork();
    allocator.large.before_fork();
    // SAFETY: The system calls `after_fork` behind this, on the same thread, and nothing allocates
    // between. The same holds for each of the calls below.
    unsafe { allocator.tiers().global_before_fork() };
    // SAFETY: As above.
    unsafe { allocator.tiers().coroutine_source().before_fork() };
    // SAFETY: As above.
    unsafe { allocator.tiers().thread_source().before_fork() };
    // SAFETY: As above.
    unsafe { PolicyOf::<D>::LARGE.before_fork() };
}

/// After a fork, in the parent and in the child: gives them back, in reverse.
unsafe extern "C" fn after_fork<D: Declaration>() {
    let allocator = D::allocator();
    // SAFETY: The system calls this after `before_fork`, on the same thread or, in the child, on its copy. The same holds for each
    // of the calls below.
    unsafe { PolicyOf::<D>::LARGE.after_fork() };
    // SAFETY: As above.
    unsafe { allocator.tiers().thread_source().after_fork() };
    // SAFETY: As above.
    unsafe { allocator.tiers().coroutine_source().after_fork() };
    // SAFETY: As above.
    unsafe { allocator.tiers().global_after_fork() };
    // SAFETY: As above.
    unsafe { allocator.large.after_fork() };
    // SAFETY: As above.
    unsafe { allocator.thread_pool.after_fork() };
    // SAFETY: As above.
    unsafe { allocator.coroutine_pool.after_fork() };
    // SAFETY: As above.
    unsafe { allocator.parking.after_fork() };
}

//! What happens when a thread ends.
//!
//! The end of a thread is seen through a key of the threads library, whose functions run after the destructors of Rust's
//! thread-locals, so that those can still allocate and free as before. What runs later still (other keys' functions) allocates
//! from the global tier and frees remotely.
//!
//! A shared library that declares a switchable allocator stays loaded from the first time that a thread keeps something for it: the
//! system would call the key's function after the library was unloaded.

use core::ffi::c_void;

use super::Policy;
use super::allocator::{PolicyOf, SwitchableAllocator};
use super::context::Stage;
use super::fork::{Joined, Member};
use super::lifecycle::CACHED;
use super::tiers::{Declaration, StateOf};
use crate::sync::atomic::AtomicU64;
use crate::sync::atomic::Ordering::{Acquire, Release};
use crate::sys;

/// Whether the hooks are set.
#[derive(Debug)]
pub(crate) struct Hooks {
    /// One of the constants below, or the number of the threads library's key plus `KEY`.
    state: AtomicU64,
    /// The declaration on the list of those that take part in forks.
    member: Member,
}

const UNSET: u64 = 0;
/// Some thread is about to set them. No lock, because a fork at this moment would leave it to the child for ever.
const SETTING: u64 = 1;
const REFUSED: u64 = 2;
const KEY: u64 = 3;

impl Hooks {
    crate::sync::const_fn! {
        pub(crate) fn new<D: Declaration>() -> Self {
            Self { state: AtomicU64::new(UNSET), member: Member::new::<D>() }
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
        } else if PolicyOf::<D>::ACCOUNTING {
            // SAFETY: The state is the calling thread's, which is armed once, and `detach` takes it off when the thread ends.
            unsafe { self.totals.join(&state.pending) };
        }
        armed
    }

    /// Sets the hooks, once; gives their state.
    fn set_hooks(&self) -> u64 {
        let state = &self.hooks.state;
        if let Err(state) = state.compare_exchange(UNSET, SETTING, Acquire, Acquire) {
            return state;
        }
        // The key's function, the declaration and the fork handlers must be there as long as the process may come back to them.
        sys::keep_loaded(thread_ends::<D> as *const ());
        sys::keep_loaded(super::register_fork_handlers as *const ());
        let new = match D::allocator().hooks.member.join() {
            Joined::Yes => {
                sys::ExitKey::new(thread_ends::<D>).map_or(REFUSED, |key| KEY + u64::from(key.number()))
            }
            Joined::NotYet => UNSET,
            Joined::Refused => REFUSED,
        };
        state.store(new, Release);
        if new == UNSET { SETTING } else { new }
    }
}

/// The end of a thread.
unsafe extern "C" fn thread_ends<D: Declaration>(_: *mut c_void) {
    D::allocator().detach();
}

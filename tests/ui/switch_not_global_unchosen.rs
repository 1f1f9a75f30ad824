//! There is always a global tier.

use context_allocator::Builder;

fn main() {
    let _ = Builder::new().without_coroutine_tier().without_thread_tier().build();
}

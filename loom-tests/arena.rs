//! An arena that threads share while one of them reclaims: each block is held, free or uncut, and
//! each chunk goes back once.

use std::sync::Arc;

use core::ptr::NonNull;

use super::ground::{Ground, Index};
use super::{explore, together};
use crate::layout::NonZeroLayout;
use crate::size::{U64, U128};
use crate::source::{ArenaSource, MemorySource};

const BLOCK: usize = 64;
const CHUNK: usize = 128;

struct Shared {
    arena: ArenaSource<Arc<Ground>, U64, U128>,
    ground: Arc<Ground>,
    index: Index,
}

impl Shared {
    fn new() -> Self {
        let ground = Arc::new(Ground::new(4, CHUNK, BLOCK));
        Self { arena: ArenaSource::new_in(ground.clone()), ground, index: Index::new() }
    }

    fn layout() -> NonZeroLayout {
        NonZeroLayout::from_size_align(BLOCK, 8).unwrap()
    }

    fn obtain(&self) -> NonNull<[u8]> {
        let block = self.arena.obtain(Self::layout()).expect("there are chunks enough");
        self.index.enter(block);
        self.ground.touch(block.cast());
        block
    }

    fn release(&self, block: NonNull<[u8]>) {
        self.ground.touch(block.cast());
        self.index.strike(block.cast());
        // SAFETY: Only called with what `obtain` gave, once.
        unsafe { self.arena.release(block, Self::layout()) };
    }

    fn keep_one(&self) {
        self.obtain();
    }

    fn use_one(&self) {
        let block = self.obtain();
        self.release(block);
    }

    fn keep_one_of_two(&self) {
        let first = self.obtain();
        self.obtain();
        self.release(first);
    }

    fn reclaim(&self) {
        let mut bytes = 0;
        let reclaimed = self.arena.reclaim(&mut |range| bytes += range.len());
        assert_eq!(reclaimed, bytes);
        assert!(bytes.is_multiple_of(CHUNK));
        self.agrees();
    }

    /// What the arena says at any moment is possible.
    fn agrees(&self) {
        let usage = self.arena.usage();
        assert!(usage.unused <= usage.obtained && usage.obtained <= 4 * CHUNK);
    }

    /// Every block is held, free or uncut; and when all are back, so are the chunks.
    fn check(self, kept: usize) {
        let usage = self.arena.usage();
        assert_eq!(self.index.len(), kept);
        assert_eq!(usage.obtained, self.ground.held() * CHUNK);
        assert_eq!(usage.obtained - usage.unused, kept * BLOCK);
        for unit in 0..4 * CHUNK / BLOCK {
            if self.index.has(self.ground.at(unit)) {
                self.release(crate::ptr::bytes(self.ground.at(unit), BLOCK));
            }
        }
        drop(self.arena);
        assert_eq!(self.ground.held(), 0);
    }
}

#[test]
fn two_threads_use_an_arena_while_one_reclaims() {
    explore("arena", 3, || {
        together(Shared::new(), Shared::reclaim, [Shared::use_one, Shared::keep_one]).check(1);
    });
}

#[test]
fn blocks_come_back_while_one_reclaims() {
    explore("arena, two blocks", 2, || {
        let shared = Shared::new();
        together(
            shared,
            |shared| (shared.reclaim(), shared.use_one(), shared.reclaim()).2,
            [Shared::keep_one_of_two],
        )
        .check(1);
    });
}

#[test]
fn three_threads_use_an_arena_while_one_reclaims() {
    explore("arena, 4 threads", 4, || {
        let others = [Shared::use_one, Shared::keep_one, Shared::use_one];
        together(Shared::new(), Shared::reclaim, others).check(1);
    });
}

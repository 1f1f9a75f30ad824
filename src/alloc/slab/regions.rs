//! The regions of a heap: cut into slabs, or slabs themselves.

use super::*;

impl<S: MemorySource, B: BlockSize> Heap<S, B> {
    /// Makes a region slabs of this heap, and gives the first.
    ///
    /// # Safety
    /// It was obtained for slabs of `len` bytes, and nobody uses it.
    pub(super) unsafe fn add_region(&self, region: NonNull<[u8]>, len: usize) -> &Slab {
        let several = is_several::<B>(region.len(), len);
        // SAFETY: The region was obtained for slabs of `len` bytes, and nobody uses it.
        let slab = unsafe { self.add(region.cast(), len, !several) };
        slab.region.set(region.len());
        if several {
            // What is left of the last such region serves as slabs of the shorter length.
            while let Some(slab) = self.cut(B::BYTES) {
                self.push_empty(slab);
            }
            slab.next_region.set(self.regions.replace(core::ptr::from_ref(slab).cast_mut()));
            self.uncut.set(ptr::up(region.cast::<u8>().as_ptr(), len));
            self.uncut_len.set(region.len() - len);
        }
        slab
    }

    /// Cuts a slab of `len` bytes from a region that holds several, if there is room.
    pub(super) fn cut(&self, len: usize) -> Option<&Slab> {
        loop {
            let start = NonNull::new(self.uncut.get())?;
            // To the next multiple of `len` there may be room for shorter ones.
            let whole = start.addr().get() & (len - 1) == 0;
            let next = if whole { len } else { B::BYTES };
            if self.uncut_len.get() < next {
                return None;
            }
            self.uncut.set(ptr::up(start.as_ptr(), next));
            self.uncut_len.set(self.uncut_len.get() - next);
            // SAFETY: The bytes were uncut, so nobody has them; they begin at a multiple of `next`,
            // as the region did and all cuts are.
            let slab = unsafe { self.add(start, next, false) };
            if whole {
                return Some(slab);
            }
            self.push_empty(slab);
        }
    }

    /// Makes memory a slab of this heap.
    ///
    /// # Safety
    /// As [`Slab::init`].
    pub(super) unsafe fn add(&self, start: NonNull<u8>, len: usize, is_region: bool) -> &Slab {
        if self.identity.get() == 0 {
            self.identity.set(start.addr().get());
        }
        // SAFETY: The memory is as `Slab::init` asks, by this function's own `# Safety`.
        let slab = unsafe { Slab::init(start, len, is_region, self.identity.get()) };
        // SAFETY: It was just written, and stays until it is released.
        unsafe { self.all.push(slab) };
        // SAFETY: It was just written.
        unsafe { slab.as_ref() }
    }

    /// Frees all blocks, and keeps one region. The lists of the classes are the caller's to clear.
    pub(in super::super) fn clear(&mut self) {
        let several = !self.regions.get().is_null();
        let mut kept: Option<(NonNull<u8>, usize)> = None;
        self.release_all(|start, len, slab_len| {
            let keep = kept.is_none() && slab_len == B::BYTES && is_several::<B>(len, slab_len) == several;
            if keep {
                kept = Some((start, len));
            }
            keep
        });
        self.current.iter().for_each(|current| current.set(null_mut()));
        self.waiting.clear();
        self.postponed.set(core::ptr::null());
        self.all.clear();
        self.regions.set(null_mut());
        #[cfg(feature = "std")]
        self.recent.iter().for_each(RecentlyFull::clear);
        self.uncut_len.set(0);
        self.counted.set(0);
        self.releases.set(0);
        if let Some((start, len)) = kept {
            // SAFETY: The region is this heap's, and has no block any more.
            let slab = unsafe { self.add_region(ptr::bytes(start, len), B::BYTES) };
            self.push_empty(slab);
        }
    }

    /// Releases every region but those that `keep` says yes to; it is called with start, length,
    /// and length of slabs.
    pub(super) fn release_all(&self, mut keep: impl FnMut(NonNull<u8>, usize, usize) -> bool) {
        // Slabs that are regions first: the links between them may lead through the others.
        for slab in self.slabs() {
            let (start, len, slab_len) = (slab.start(), slab.region.get(), slab.len());
            if slab.is_region && !keep(start, len, slab_len) {
                // SAFETY: The slab is a region by itself, and nobody uses it any more.
                unsafe { self.release(start, len, slab_len) };
            }
        }
        let mut next = self.regions.get();
        // SAFETY: The first slabs of regions are slabs of this heap.
        while let Some(slab) = unsafe { next.as_ref() } {
            next = slab.next_region.get();
            let (start, len, slab_len) = (slab.start(), slab.region.get(), slab.len());
            if !keep(start, len, slab_len) {
                // SAFETY: The region is this heap's, and nobody uses it any more.
                unsafe { self.release(start, len, slab_len) };
            }
        }
    }
}

/// Whether a region of `len` bytes that was obtained for slabs of `slab_len` bytes has room for
/// more than one.
const fn is_several<B: BlockSize>(len: usize, slab_len: usize) -> bool {
    len - slab_len >= B::BYTES
}

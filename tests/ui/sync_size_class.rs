use context_allocator::{MmapSource, SizeClassAllocator};

static SHARED: SizeClassAllocator<MmapSource> = SizeClassAllocator::new(MmapSource::new());

fn main() {
    let _ = &SHARED;
}

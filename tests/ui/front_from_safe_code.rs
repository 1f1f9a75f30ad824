//! What an allocator puts near a thread may only be reached by who knows that the allocator is
//! still there.

// says: call to unsafe function `allocate_through` is unsafe
// says: call to unsafe function `leave` is unsafe
// says: call to unsafe function `pop` is unsafe

use context_allocator::{Front, LocalAllocator, MmapSource, NonZeroLayout, SlabAllocator};

type Slabs = SlabAllocator<MmapSource>;

fn main() {
    let front = <<Slabs as LocalAllocator>::Front as Front>::EMPTY;
    let allocator = Slabs::new(MmapSource::new());
    let block = allocator.allocate_through(&front, NonZeroLayout::of::<u64>().unwrap()).unwrap();
    Slabs::new(MmapSource::new()).leave(&front);
    drop(allocator);
    // Of memory that is unmapped.
    front.open(true);
    println!("{block:?} {:?}", front.pop(8, 8));
}

//! A device without an operating system: samples come in as packets, are kept for a while, and
//! summed up.
//!
//! All memory is set aside by the linker, in three statics, without `unsafe` code: packets of one
//! size in a bit-set, which uses every byte there is, tables of any size in a tree allocator, and a
//! third one behind Rust's own collections. What is the device's part, its entry and its end,
//! stands in for a board's start-up code; here the result is the exit status.

#![no_std]
#![no_main]

extern crate alloc;

use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::panic::PanicInfo;
use core::ptr::NonNull;

use context_allocator::size::{U64, U128, U4096, U8192, U16384};
use context_allocator::{Allocator, Locked, MultipleBinarySearchTreeAllocator, NonZeroLayout};
use context_allocator::adapt::AllocatorAdaptor;
use context_allocator::alloc::FixedBitSetAllocator;
use context_allocator::source::InlineRegion;
use typenum::U8;

static PACKETS: InlineRegion<U8192> = InlineRegion::new();
static TABLES: InlineRegion<U4096> = InlineRegion::new();
static HEAP: InlineRegion<U16384> = InlineRegion::new();

/// Small trees: eight do for a few kilobytes.
type Tree = MultipleBinarySearchTreeAllocator<&'static InlineRegion<U16384>, U8>;

#[global_allocator]
static GLOBAL: AllocatorAdaptor<Locked<Tree>> =
    AllocatorAdaptor::new(Locked::new(Tree::new_in(&HEAP)));

/// What comes in: 128 bytes, two blocks.
struct Packet {
    sensor: u16,
    samples: [u16; 63],
}

/// Takes packets until there is no room for another, and gives them back when they were read.
fn read_packets(means: &mut BTreeMap<u16, u32>) -> Option<usize> {
    let pool = FixedBitSetAllocator::<_, U64, U128>::new(&PACKETS);
    let layout = NonZeroLayout::of::<Packet>()?;
    let mut queue = Vec::new();
    while let Ok(block) = pool.allocate(layout) {
        let packet: NonNull<Packet> = block.cast();
        let sensor = (queue.len() % 5) as u16;
        // SAFETY: The block was just allocated for a packet.
        unsafe { packet.write(Packet { sensor, samples: [sensor * 10; 63] }) };
        queue.push(packet);
    }
    let taken = queue.len();
    for packet in queue {
        // SAFETY: The packet was written above, and is freed once.
        let Packet { sensor, samples } = unsafe { packet.read() };
        means.insert(sensor, samples.iter().map(|&sample| u32::from(sample)).sum::<u32>() / 63);
        // SAFETY: Allocated above with this layout, and not used again.
        unsafe { pool.deallocate(packet.cast(), layout) };
    }
    (pool.free_blocks() == pool.blocks() && pool.blocks() == 2 * taken).then_some(taken)
}

/// Fills the tables' region with blocks of many sizes, frees them in another order, and finds it
/// whole again.
fn use_tables() -> Option<usize> {
    let tables = MultipleBinarySearchTreeAllocator::<_, U8>::new_in(&TABLES);
    let mut blocks = [None; 32];
    let mut bytes = 0;
    for (index, slot) in blocks.iter_mut().enumerate() {
        let layout = NonZeroLayout::from_size_align(24 + 40 * (index % 7), 8).ok()?;
        let Ok(block) = tables.allocate(layout) else { break };
        bytes += layout.size();
        *slot = Some((block.cast(), layout));
    }
    for start in 0..3 {
        for (block, layout) in blocks.iter().skip(start).step_by(3).flatten() {
            // SAFETY: Allocated above with this layout; each block is met once, and not used again.
            unsafe { tables.deallocate(*block, *layout) };
        }
    }
    (tables.free_bytes() == tables.largest_free_block()).then_some(bytes)
}

/// What the board calls.
fn run() -> Option<()> {
    let mut means = BTreeMap::new();
    for _ in 0..1000 {
        means.clear();
        let packets = read_packets(&mut means)?;
        if packets != 64 || means.values().copied().ne((0..5).map(|sensor| sensor * 10)) {
            return None;
        }
    }
    (use_tables()? > 3000).then_some(())
}

/// The entry, as this machine's start-up code names it.
#[unsafe(no_mangle)]
extern "C" fn main() -> i32 {
    if run().is_some() { 0 } else { 1 }
}

#[panic_handler]
fn stop(_: &PanicInfo<'_>) -> ! {
    loop {}
}

// The start-up code of this machine, which calls `main`, is part of the C library.
#[link(name = "c")]
unsafe extern "C" {}

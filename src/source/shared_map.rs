//! Shared memory maps: of a file in memory, or of one on a disk.
//!
//! ```text
//!   file    | what was there | region | region |   hole   | region |
//!                                              (released)           ^ end
//! ```
//! Each region is a range of the file of its own, behind all earlier ones; a range that was
//! released becomes a hole, which takes no memory, and is not used again.

use core::ffi::CStr;
use core::fmt;
use core::ptr::NonNull;
use std::fs::File;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::MemorySource;
use crate::error::SourceError;
use crate::layout::NonZeroLayout;
use crate::layout::round_up;
use crate::ptr;
use crate::sync::Guarded;
use crate::sys;
use sys::{Advice, MapKind};

/// Maps of one file.
struct Maps {
    file: OwnedFd,
    /// The lock makes growing and mapping one step.
    end: Guarded<End>,
    /// Whether room on the disk is taken in advance.
    reserve: bool,
    /// The process that may obtain regions: the child of a fork has the same file, and would give
    /// the same ranges.
    process: u64,
}

/// Where the file ends, in bytes.
#[derive(Clone, Copy, Debug)]
struct End {
    /// The end of what regions have, or had.
    used: i64,
    /// The length of the file, which may be more where a range was made and could not be mapped.
    len: i64,
}

impl Maps {
    fn new(file: OwnedFd, end: i64, reserve: bool) -> Self {
        let end = Guarded::new(End { used: end, len: end });
        Self { file, end, reserve, process: sys::process_name() }
    }

    /// A range at the end of the file, mapped, and where in the file it is.
    fn obtain(&self, layout: NonZeroLayout) -> Result<(NonNull<[u8]>, u64), SourceError> {
        if sys::process_name() != self.process {
            return Err(SourceError::Unsupported);
        }
        let len = round_up(layout.size(), sys::page_size()).ok_or(SourceError::TooLarge)?;
        let mut end = self.end.lock();
        let offset = end.used;
        let new_end =
            i64::try_from(len).ok().and_then(|len| offset.checked_add(len)).ok_or(SourceError::Exhausted)?;
        if new_end > end.len {
            self.lengthen(end.len, new_end).map_err(SourceError::System)?;
            end.len = new_end;
        }
        let start = self.map(offset, len, layout.align()).inspect_err(|_| {
            // A file on a disk gives its room back; one in memory cannot be cut, and takes none
            // before it is touched.
            if sys::set_length(self.file.as_raw_fd(), offset).is_ok() {
                end.len = offset;
            }
        })?;
        end.used = new_end;
        // Still under the lock, so that a fork which takes it finds no region that the child would
        // have.
        // SAFETY: Just mapped; the advice changes no contents. Where the kernel refuses it, which
        // it does for no such map, the region is given back.
        if let Err(errno) = unsafe { sys::advise(start, len, Advice::NoFork) } {
            // SAFETY: Just mapped, and nobody has seen it.
            unsafe { sys::unmap(start, len) };
            return Err(SourceError::System(errno));
        }
        Ok((ptr::bytes(start, len), offset.unsigned_abs()))
    }

    fn lengthen(&self, end: i64, new_end: i64) -> Result<(), i32> {
        let file = self.file.as_raw_fd();
        if self.reserve {
            match sys::lengthen_reserving(file, end, new_end - end) {
                Err(libc::EOPNOTSUPP) => {}
                other => return other,
            }
        }
        sys::set_length(file, new_end)
    }

    /// Maps a range of the file that nobody has, at a multiple of `align`.
    fn map(&self, offset: i64, len: usize, align: usize) -> Result<NonNull<u8>, SourceError> {
        let file = self.file.as_raw_fd();
        let page = sys::page_size();
        if align <= page {
            // SAFETY: No place is given; the range is at the end of the file, which is this
            // source's.
            return unsafe { sys::map_file(file, offset, len, None) }.map_err(SourceError::System);
        }
        let total = len.checked_add(align - page).ok_or(SourceError::TooLarge)?;
        let nowhere = MapKind { writable: false, reserve: false };
        let room = sys::map_as(total, nowhere).map_err(SourceError::System)?;
        let head = ptr::padding(room.addr().get(), align);
        // SAFETY: `head` is at most `align - page`, so `len` bytes behind it lie in the room.
        let start = unsafe { room.add(head) };
        // SAFETY: The pages were just mapped, and nothing uses them.
        let mapped = unsafe { sys::map_file(file, offset, len, Some(start)) };
        let tail = total - len - head;
        if head > 0 {
            // SAFETY: The pages before the region are the room's.
            unsafe { sys::unmap(room, head) };
        }
        if tail > 0 {
            // SAFETY: `len` bytes from `start` on lie in the room.
            let behind = unsafe { start.add(len) };
            // SAFETY: The pages behind the region are the room's.
            unsafe { sys::unmap(behind, tail) };
        }
        // Where the call failed, what was mapped at `start` may be gone already and the addresses
        // be somebody else's: they are left.
        mapped.map_err(SourceError::System)
    }

    /// # Safety
    /// As [`MemorySource::release`].
    unsafe fn release(&self, region: NonNull<[u8]>) {
        let page = sys::page_size();
        // Every size that fits rounds up to the same number of pages.
        let len = (region.len() + page - 1) & !(page - 1);
        if sys::process_name() != self.process {
            // The child of a fork has neither the pages nor the right to the file.
            return;
        }
        // What a file system without holes keeps is on its disk, behind nothing that is used.
        // SAFETY: The pages are the region's, and nobody uses them any more, as the caller
        // promises.
        let _hole = unsafe { sys::advise(region.cast(), len, Advice::Remove) };
        // SAFETY: As above.
        unsafe { sys::unmap(region.cast(), len) };
    }
}

/// The trait for a source with its maps in a field.
macro_rules! source_of_maps {
    ($source:ty) => {
        // SAFETY: A region is a map that `obtain` made, of a range of the file that no other region
        // of this source has and that nobody else uses (the file is the source's own, or `new`'s
        // caller promises it); new ranges of a file are zero. Other processes reach the file only
        // through the descriptor, which only `unsafe` functions give, and children of a fork do not
        // get the pages.
        unsafe impl MemorySource for $source {
            const ZEROED: bool = true;
            const MIN_ALIGN: usize = super::mmap::SMALLEST_PAGE;

            fn obtain(&self, layout: NonZeroLayout) -> Result<NonNull<[u8]>, SourceError> {
                self.maps.obtain(layout).map(|(region, _)| region)
            }

            unsafe fn release(&self, region: NonNull<[u8]>, _layout: NonZeroLayout) {
                // SAFETY: The region is held, and nobody uses it any more.
                unsafe { self.maps.release(region) };
            }

            unsafe fn before_fork(&self) {
                self.maps.end.hold_for_fork();
            }

            unsafe fn after_fork(&self) {
                // SAFETY: The call that the caller promises held the lock.
                unsafe { self.maps.end.release_after_fork() };
            }
        }

        impl $source {
            /// Obtains a region, and says at how many bytes from the start of the file it is, so
            /// that another process can map it there.
            ///
            /// # Errors
            /// As [`MemorySource::obtain`].
            pub fn obtain_with_offset(
                &self,
                layout: NonZeroLayout,
            ) -> Result<(NonNull<[u8]>, u64), SourceError> {
                self.maps.obtain(layout)
            }

            /// The file, to pass it to another process.
            ///
            /// # Safety
            /// Whoever gets it changes nothing in ranges whose users do not expect it, and makes
            /// the file neither shorter nor longer.
            pub unsafe fn file(&self) -> BorrowedFd<'_> {
                use std::os::fd::AsFd;
                self.maps.file.as_fd()
            }
        }

        impl fmt::Debug for $source {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.debug_struct(stringify!($source))
                    .field("file", &self.maps.file)
                    .field("bytes", &self.maps.end.lock().used)
                    .finish()
            }
        }
    };
}

/// A source of shared maps of a file in memory (`memfd_create`, Linux 3.17), which can be passed to
/// other processes.
///
/// Beyond the process's limit on the length of files (`RLIMIT_FSIZE`) a request is an error, and no
/// signal.
///
/// Regions are whole pages, zeroed, and use memory from the first touch of each page; it counts as
/// shared memory. What is released becomes a hole in the file, whose length only grows. A child of
/// a fork has none of the regions, and obtains none: it would share what it changes with its
/// parent.
///
/// # Examples
/// ```
/// use context_allocator::{Allocator, BumpAllocator, NonZeroLayout};
/// use context_allocator::source::MemfdSource;
///
/// let allocator = BumpAllocator::new(MemfdSource::new(c"messages")?);
/// assert!(allocator.allocate(NonZeroLayout::of::<[u64; 100]>().unwrap()).is_ok());
/// # Ok::<(), context_allocator::error::SourceError>(())
/// ```
pub struct MemfdSource {
    maps: Maps,
}

impl MemfdSource {
    /// A source of regions in a new file in memory, which `/proc/self/maps` and `/proc/self/fd`
    /// show with this name.
    ///
    /// # Errors
    /// [`SourceError::System`] with the error number of `memfd_create`.
    pub fn new(name: &CStr) -> Result<Self, SourceError> {
        let file = sys::memory_file(name).map_err(SourceError::System)?;
        // SAFETY: The file was just opened, and nobody else knows its descriptor.
        let file = unsafe { OwnedFd::from_raw_fd(file) };
        Ok(Self { maps: Maps::new(file, 0, false) })
    }
}

source_of_maps!(MemfdSource);

/// A source of shared maps of a file on a disk: memory that the kernel can write out without swap,
/// and that stays in the file.
///
/// Beyond the process's limit on the length of files (`RLIMIT_FSIZE`) a request is an error, and no
/// signal.
///
/// Regions are whole pages, zeroed, behind what the file holds already. Room on the disk is taken
/// when a region is obtained (`fallocate`), as far as the file system can, so that a full disk is
/// an error then and no signal later. What is released becomes a hole where the file system has
/// holes; the file's length only grows. As with [`MemfdSource`], a child of a fork has no part in
/// it.
///
/// # Examples
/// ```
/// use context_allocator::{Allocator, BumpAllocator, NonZeroLayout};
/// use context_allocator::source::FileSource;
/// use std::fs::File;
///
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("spill");
/// let file = File::options().read(true).write(true).create_new(true).open(path)?;
/// // SAFETY: The file is new, and nobody else has opened it.
/// let source = unsafe { FileSource::new(file) }?;
/// let allocator = BumpAllocator::new(&source);
/// assert!(allocator.allocate(NonZeroLayout::of::<[u64; 100]>().unwrap()).is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct FileSource {
    maps: Maps,
}

impl FileSource {
    /// A source of regions behind what `file` holds, which is open for reading and writing.
    ///
    /// # Errors
    /// [`SourceError::System`] where the length of the file cannot be had.
    ///
    /// # Safety
    /// As long as a region is held, nobody else changes the file from its present end on, or makes
    /// it shorter.
    pub unsafe fn new(file: File) -> Result<Self, SourceError> {
        let unknown = |error: std::io::Error| SourceError::System(error.raw_os_error().unwrap_or(libc::EIO));
        let len = file.metadata().map_err(unknown)?.len();
        let page = sys::page_size() as u64;
        let end = len.checked_next_multiple_of(page).and_then(|end| i64::try_from(end).ok());
        Ok(Self { maps: Maps::new(file.into(), end.ok_or(SourceError::TooLarge)?, true) })
    }
}

source_of_maps!(FileSource);

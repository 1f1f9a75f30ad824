//! Keeping a shared library loaded.

use core::ffi::{CStr, c_char, c_int, c_void};

use super::keeping_errno;

/// Keeps the shared library that a function lies in loaded for the life of the process; nothing is
/// to be done for the program itself.
///
/// What the system was given to call later (at the end of a thread, around a fork, on a thread of
/// its own) must still be there then.
pub(crate) fn keep_loaded(function: *const ()) {
    if cfg!(target_feature = "crt-static") {
        return;
    }
    let mut search = Search { address: function.addr(), name: core::ptr::null() };
    // SAFETY: The function may be called with a pointer to a `Search`, which outlives the call.
    unsafe { libc::dl_iterate_phdr(Some(look_at), (&raw mut search).cast()) };
    if search.name.is_null() {
        return;
    }
    // SAFETY: The loader keeps the name of a library, whose code runs just now, as a string.
    let name = unsafe { CStr::from_ptr(search.name) };
    // The program itself has no name.
    if !name.is_empty() {
        let mode = libc::RTLD_LAZY | libc::RTLD_NOLOAD | libc::RTLD_NODELETE;
        // SAFETY: The name is a string. Nothing is loaded, so no constructor runs.
        keeping_errno(|| unsafe { libc::dlopen(name.as_ptr(), mode) });
    }
}

/// Which library an address lies in.
struct Search {
    address: usize,
    /// Its name, once it is found.
    name: *const c_char,
}

/// Looks at one of the loaded libraries; 1 ends the search.
unsafe extern "C" fn look_at(
    library: *mut libc::dl_phdr_info,
    _size: libc::size_t,
    search: *mut c_void,
) -> c_int {
    // SAFETY: The loader passes one of its libraries.
    let library = unsafe { &*library };
    // SAFETY: `keep_loaded` passed it, and waits for this call.
    let search = unsafe { &mut *search.cast::<Search>() };
    // SAFETY: The loader keeps the program headers of a library, that many.
    let headers = unsafe { core::slice::from_raw_parts(library.dlpi_phdr, library.dlpi_phnum.into()) };
    let inside = headers.iter().filter(|header| header.p_type == libc::PT_LOAD).any(|header| {
        let start = (library.dlpi_addr as usize).wrapping_add(header.p_vaddr as usize);
        search.address.wrapping_sub(start) < header.p_memsz as usize
    });
    if inside {
        search.name = library.dlpi_name;
    }
    inside.into()
}

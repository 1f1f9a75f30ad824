//! Loads the plugin, uses it from three threads, and unloads it, again and again; the threads end
//! afterwards.

use std::ffi::{CStr, CString, c_void};
use std::sync::Barrier;

struct Plugin(*mut c_void);

impl Plugin {
    fn load() -> Self {
        let path = std::env::current_exe().expect("the program has a path").with_file_name("libplugin.so");
        let path = CString::new(path.into_os_string().into_encoded_bytes()).expect("a path without zeros");
        // SAFETY: The path is a string, and the plugin's constructors may run here.
        let plugin = unsafe { libc::dlopen(path.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL) };
        assert!(!plugin.is_null(), "the plugin was not found");
        Self(plugin)
    }

    fn find(&self, name: &CStr) -> *mut c_void {
        // SAFETY: The plugin is loaded, and the name is a string.
        let function = unsafe { libc::dlsym(self.0, name.as_ptr()) };
        assert!(!function.is_null());
        function
    }

    fn unload(self) {
        // SAFETY: It was loaded once by `load`, and no function of it runs.
        assert_eq!(unsafe { libc::dlclose(self.0) }, 0);
    }
}

fn is_mapped() -> bool {
    std::fs::read_to_string("/proc/self/maps").expect("a list of maps").contains("libplugin.so")
}

fn resident_kib() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").expect("the process's size");
    text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).expect("a number") * 4
}

fn main() {
    // A plugin that was not used goes.
    let plugin = Plugin::load();
    // SAFETY: The plugin has a function of that name and type.
    let idle: extern "C" fn() -> usize = unsafe { std::mem::transmute(plugin.find(c"idle")) };
    assert_eq!(idle(), 7);
    plugin.unload();
    assert!(!is_mapped(), "the plugin was not used, and stays");
    let mut first = 0;
    for round in 0..1000 {
        let plugin = Plugin::load();
        // SAFETY: The plugin has a function of that name and type.
        let work: extern "C" fn(usize) -> usize = unsafe { std::mem::transmute(plugin.find(c"work")) };
        let barrier = Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    assert_eq!(work(100), 190);
                    barrier.wait();
                    // The plugin is unloaded here; then the thread ends.
                    barrier.wait();
                });
            }
            barrier.wait();
            plugin.unload();
            barrier.wait();
        });
        if round == 100 {
            first = resident_kib();
        }
    }
    // SAFETY: The child does nothing but end.
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: Always callable.
        unsafe { libc::_exit(0) };
    }
    let mut status = 0;
    // SAFETY: The status is writable.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!(status, 0);
    // The pool's thread gives memory up after half a second, with code of the plugin.
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let last = resident_kib();
    assert!(last < first + 4096, "{first} KiB resident after 100 rounds, {last} KiB after 1,000");
    println!("1000 rounds, {first} and {last} KiB resident");
}

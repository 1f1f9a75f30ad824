//! A process that misuses an allocator, and must end at once.

use std::io::Read;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Names the test whose misuse a child process commits.
const CHILD: &str = "COMMITS_MISUSE";
/// How long the process has to notice.
const LIMIT: Duration = Duration::from_secs(20);

/// Runs `misuse` in a process of its own, and checks that this ends by `SIGABRT` with a sentence on
/// standard error that contains `says`.
///
/// `module` is the calling test's `module_path!()` and `test` its name: the child runs it.
pub fn ends_the_process(module: &str, test: &str, says: &str, misuse: impl FnOnce()) {
    let test = super::test_path(module, test);
    if std::env::var_os(CHILD).is_some_and(|name| name == test.as_str()) {
        keep_no_core();
        return misuse();
    }
    let mut child = Command::new(std::env::current_exe().expect("this binary"))
        .args([test.as_str(), "--exact", "--test-threads=1"])
        .env(CHILD, &test)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("a process");
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("it is our child") {
            break status;
        }
        if begun.elapsed() > LIMIT {
            child.kill().expect("it still runs");
            child.wait().expect("it was killed");
            panic!("{test}: the process did not end within {LIMIT:?}");
        }
        sleep(Duration::from_millis(5));
    };
    let mut text = String::new();
    let mut errors = child.stderr.take().expect("piped above");
    errors.read_to_string(&mut text).expect("the sentences are text");
    assert_eq!(status.signal(), Some(libc::SIGABRT), "{test}: {status}: {text}");
    let is_said = text.lines().any(|line| line.starts_with("context-allocator: ") && line.contains(says));
    assert!(is_said, "{test}: {text}");
}

fn keep_no_core() {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: The limit is a local variable that is only read.
    unsafe { libc::setrlimit(libc::RLIMIT_CORE, &none) };
}

//! Other programs, run to their end or to a time limit.

use std::io::Read;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use wait_timeout::ChildExt;

use super::Failure;

/// Runs a command and gives what it printed; one that takes longer than `limit` is ended.
pub fn output(command: &mut Command, limit: Duration) -> Result<String, Failure> {
    let called = format!("{command:?}");
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{called} does not start: {error}"))?;
    // Read while it runs, so that it does not wait for a full pipe.
    let printed = read(child.stdout.take());
    let errors = read(child.stderr.take());
    let status = child.wait_timeout(limit).map_err(|error| format!("{called}: {error}"))?;
    if status.is_none() {
        // Should it end by itself in between, there is nothing to kill.
        let _ = child.kill();
        let _ = child.wait();
    }
    let printed = printed.join().expect("reading does not panic");
    let errors = errors.join().expect("reading does not panic");
    match status {
        None => Err(format!("{called} took more than {} s", limit.as_secs())),
        Some(status) if !status.success() => {
            Err(format!("{called} failed, {status}: {}", shortened(&errors)))
        }
        Some(_) => Ok(printed),
    }
}

/// What a program said of its failure, without what valgrind says of itself.
fn shortened(errors: &str) -> String {
    let lines = errors.lines().filter(|line| !line.starts_with("=="));
    lines.take(40).collect::<Vec<_>>().join("\n").trim().to_owned()
}

fn read(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What could be read until then is what there is.
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::output;

    #[test]
    fn one_that_hangs_is_ended() {
        let failure = output(Command::new("sleep").arg("60"), Duration::from_millis(50)).unwrap_err();
        assert!(failure.contains("took more than"), "{failure}");
    }

    #[test]
    fn one_that_fails_is_told() {
        let failure = output(Command::new("sh").args(["-c", "echo why >&2; exit 3"]), Duration::from_secs(9));
        assert!(failure.unwrap_err().ends_with("why"));
    }
}

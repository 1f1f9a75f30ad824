//! Makes an index of the words of the Rust sources under the folders in `FIGURES_SOURCES`, and
//! searches it.
//!
//! ```text
//!   file ──> its words with their lines        a context for each file, on one of two threads
//!        ──> merged into the index             which lasts: word -> file -> lines
//!   query ──> files that have all words, ranked, with first lines    a context for each query
//! ```

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{env, fs, thread};

use walkdir::WalkDir;

use crate::cases::Tier;

/// The variable that names the folders, separated by colons.
pub const SOURCES: &str = "FIGURES_SOURCES";
const THREADS: usize = 2;
const QUERIES: usize = 20_000;

/// Always the same, so that runs are alike.
type Hasher = BuildHasherDefault<DefaultHasher>;
/// The lines of a file in which a word occurs.
type Lines = Vec<u32>;
/// A word's lines by file.
type Index = HashMap<String, BTreeMap<u32, Lines>, Hasher>;

fn files() -> Vec<PathBuf> {
    let folders = env::var(SOURCES).unwrap_or_else(|_| panic!("the variable {SOURCES} names folders"));
    let mut files: Vec<_> = folders
        .split(':')
        .flat_map(|folder| WalkDir::new(folder).into_iter().filter_map(Result::ok))
        .map(|entry| entry.into_path())
        .filter(|path| path.extension().is_some_and(|end| end == "rs") && path.is_file())
        .collect();
    files.sort_unstable();
    assert!(!files.is_empty(), "no Rust sources under {folders}");
    files
}

/// The words of a file in small letters, with their lines.
fn words(file: &Path) -> HashMap<String, Lines, Hasher> {
    let mut words = HashMap::<String, Lines, Hasher>::default();
    let text = fs::read(file).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    for (number, line) in text.lines().enumerate() {
        for word in line.split(|letter: char| !letter.is_alphanumeric()).filter(|word| word.len() > 2) {
            let lines = words.entry(word.to_lowercase()).or_default();
            if lines.last() != Some(&(number as u32)) {
                lines.push(number as u32);
            }
        }
    }
    words
}

/// Files taken by one thread after the other, until none are left; each merged where it lasts.
fn read<T: Tier>(files: &[PathBuf], next: &AtomicUsize, index: &Mutex<Index>) {
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let Some(file) = files.get(number) else { return };
        let found = T::within(|| words(file));
        let mut index = index.lock().expect("no thread panicked");
        // Copied, so that nothing that lasts is in the context of a file.
        for (word, lines) in &found {
            match index.get_mut(word) {
                Some(files) => drop(files.insert(number as u32, lines.clone())),
                None => drop(index.insert(word.clone(), BTreeMap::from([(number as u32, lines.clone())]))),
            }
        }
    }
}

/// The ten files that have both words most often, and where; how long the answer is.
fn query(index: &Index, files: &[PathBuf], words: [&str; 2]) -> usize {
    let [Some(one), Some(other)] = words.map(|word| index.get(word)) else { return 0 };
    let mut hits: Vec<(usize, u32, Vec<u32>)> = one
        .iter()
        .filter_map(|(file, lines)| {
            let more = other.get(file)?;
            let both = lines.iter().chain(more).copied().take(8).collect();
            Some((lines.len() * more.len(), *file, both))
        })
        .collect();
    hits.sort_unstable_by(|one, other| (other.0, one.1).cmp(&(one.0, other.1)));
    let answer: Vec<String> = hits
        .iter()
        .take(10)
        .map(|(rank, file, lines)| format!("{rank} {}: {lines:?}", files[*file as usize].display()))
        .collect();
    answer.join("\n").len()
}

/// Runs it and prints figures that are the same on every allocator.
pub fn run<T: Tier>(_iterations: u64) {
    let files = files();
    let index = Mutex::new(Index::default());
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| read::<T>(&files, &next, &index));
        }
    });
    let index = index.into_inner().expect("no thread panicked");
    let mut known: Vec<&str> =
        index.iter().filter(|(_, files)| files.len() < 40).map(|(word, _)| word.as_str()).collect();
    known.sort_unstable();
    let found: usize = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS as u64)
            .map(|seed| {
                let (known, index, files) = (&known, &index, &files);
                scope.spawn(move || {
                    let mut random = fastrand::Rng::with_seed(seed);
                    let mut word = || known[random.usize(..known.len())];
                    (0..QUERIES).map(|_| T::within(|| query(index, files, [word(), word()]))).sum::<usize>()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("no thread panics")).sum()
    });
    println!("{} files, {} words, {found} bytes of answers", files.len(), index.len());
}

//! The parts of docs/benchmarks/ that are measured, each between its markers.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::Args;

use super::results::Results;
use super::{Failure, charts, goals, matrix, tables};

/// What to show again.
#[derive(Debug, Args)]
pub struct Show {
    /// The results of a run
    results: PathBuf,
    /// Write its tables into docs/benchmarks/, and its charts into docs/charts
    #[arg(long)]
    write: bool,
}

/// Shows the results of an earlier run.
pub fn show(root: &Path, show: &Show) -> Result<(), Failure> {
    let text =
        fs::read_to_string(&show.results).map_err(|error| format!("{}: {error}", show.results.display()))?;
    let results: Results =
        serde_json::from_str(&text).map_err(|error| format!("{}: {error}", show.results.display()))?;
    print!("{}", tables::everything(&results));
    if show.write { write(root, &results) } else { Ok(()) }
}

/// The documents with measured parts.
fn files(root: &Path) -> Result<Vec<PathBuf>, Failure> {
    let folder = root.join("docs/benchmarks");
    let told = |error| format!("{}: {error}", folder.display());
    let entries = fs::read_dir(&folder).map_err(told)?;
    let mut files =
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>().map_err(told)?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "md"));
    files.sort();
    Ok(files)
}

/// Puts text between the markers of a part; `None` if the document has no such markers.
fn replace(document: &str, part: &str, text: &str) -> Option<String> {
    let (begin, end) = (format!("<!-- begin {part} -->\n"), format!("<!-- end {part} -->\n"));
    let (before, rest) = document.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}\n{}\n\n{end}{after}", text.trim()))
}

/// Puts standard input between the markers of a part.
pub fn replace_by_input(root: &Path, part: &str) -> Result<(), Failure> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text).map_err(|error| format!("standard input: {error}"))?;
    update(root, &[(part.to_owned(), text)])
}

/// Puts texts between the markers of their parts.
pub fn update(root: &Path, parts: &[(String, String)]) -> Result<(), Failure> {
    let told = |file: &Path, error: io::Error| format!("{}: {error}", file.display());
    let mut documents = Vec::new();
    for file in files(root)? {
        let document = fs::read_to_string(&file).map_err(|error| told(&file, error))?;
        documents.push((file, document));
    }
    for (part, text) in parts {
        let mut places = documents.iter_mut();
        let (document, replaced) = places
            .find_map(|(_, document)| replace(document, part, text).map(|replaced| (document, replaced)))
            .ok_or_else(|| format!("no document of docs/benchmarks has markers for {part:?}"))?;
        *document = replaced;
    }
    documents
        .iter()
        .try_for_each(|(file, document)| fs::write(file, document).map_err(|error| told(file, error)))
}

/// Writes the tables, and the charts where the programs were built as most are.
pub fn write(root: &Path, results: &Results) -> Result<(), Failure> {
    let regions = |title: &str| {
        ["region", "enter", "request"].iter().any(|start| title.starts_with(start))
            && !title.ends_with("threads")
    };
    let direct = |title: &str| ["bump", "direct", "map"].iter().any(|start| title.starts_with(start));
    let mut parts = vec![
        ("conditions", results.conditions.list()),
        ("times", matrix::times(results).to_string()),
        ("instructions", matrix::instructions(results).to_string()),
        ("goals", goals::table(results).to_string()),
        ("programs", tables::programs(results).to_string()),
    ];
    let lto = results.conditions.link_time_optimisation;
    if !lto {
        parts.extend([
            ("allocators", tables::contenders(&results.contenders).to_string()),
            ("peaks", matrix::peaks(results).to_string()),
            ("memory", tables::memory(results).to_string()),
            ("regions", tables::cases(results, regions).to_string()),
            ("direct", tables::cases(results, direct).to_string()),
            ("share of a region", tables::regions(results).to_string()),
        ]);
        charts::draw(&root.join("docs/charts"), results)?;
    }
    let suffix = if lto { " with link-time optimisation" } else { "" };
    let parts: Vec<_> = parts.into_iter().map(|(part, text)| (format!("{part}{suffix}"), text)).collect();
    update(root, &parts)
}

#[cfg(test)]
mod tests {
    use super::replace;

    #[test]
    fn what_is_between_the_markers_is_replaced() {
        let document = "a\n<!-- begin x -->\nold\n<!-- end x -->\nb\n";
        let replaced = replace(document, "x", "new\n").unwrap();
        assert_eq!(replaced, "a\n<!-- begin x -->\n\nnew\n\n<!-- end x -->\nb\n");
        assert_eq!(replace(document, "y", "new"), None);
    }
}

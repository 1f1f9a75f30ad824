//! One request: read a file, parse it, count, and drop everything but the answer.

use super::counts::{Counts, Tokens};
use proc_macro2::TokenStream;
use std::fs;
use std::path::Path;
use syn::visit::Visit;

/// What is left of a file.
pub struct Answer {
    /// What it contains.
    pub counts: Counts,
    /// Its longest identifier: a block that outlives the heap it was made in.
    pub longest: String,
}

/// Answers for one file; `None` if it cannot be read, is not UTF-8 or does not parse.
///
/// The whole request is here, from reading the file to dropping its tree, so that the caller can
/// give it a heap.
pub fn answer(file: &Path) -> Option<Answer> {
    let content = String::from_utf8(fs::read(file).ok()?).ok()?;
    let stream: TokenStream = without_shebang(&content).parse().ok()?;
    let mut tokens = Tokens::default();
    tokens.count(stream.clone());
    let tree: syn::File = syn::parse2(stream).ok()?;
    let mut counts = Counts { tokens: tokens.count, ..Counts::default() };
    counts.visit_file(&tree);
    Some(Answer { counts, longest: tokens.longest })
}

/// A first line such as `#!/usr/bin/env run` has no tokens; `#![attribute]` has.
fn without_shebang(content: &str) -> &str {
    match content.strip_prefix("#!") {
        Some(rest) if !rest.trim_start().starts_with('[') => rest.find('\n').map_or("", |end| &rest[end..]),
        _ => content,
    }
}

//! What is counted in a source.

use proc_macro2::{TokenStream, TokenTree};
use serde::Serialize;
use std::fmt::Write;
use std::ops::AddAssign;
use syn::visit::{self, Visit};

/// Sums that do not depend on where the memory came from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Items, with those of traits, implementations and `extern` blocks.
    pub items: u64,
    /// Types, each part of a compound type too.
    pub types: u64,
    /// Expressions, each part of a compound expression too, without those in macro calls.
    pub expressions: u64,
    /// Tokens; a pair of delimiters is one.
    pub tokens: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.items += other.items;
        self.types += other.types;
        self.expressions += other.expressions;
        self.tokens += other.tokens;
    }
}

impl<'ast> Visit<'ast> for Counts {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        self.items += 1;
        visit::visit_item(self, item);
    }

    fn visit_impl_item(&mut self, item: &'ast syn::ImplItem) {
        self.items += 1;
        visit::visit_impl_item(self, item);
    }

    fn visit_trait_item(&mut self, item: &'ast syn::TraitItem) {
        self.items += 1;
        visit::visit_trait_item(self, item);
    }

    fn visit_foreign_item(&mut self, item: &'ast syn::ForeignItem) {
        self.items += 1;
        visit::visit_foreign_item(self, item);
    }

    fn visit_type(&mut self, ty: &'ast syn::Type) {
        self.types += 1;
        visit::visit_type(self, ty);
    }

    fn visit_expr(&mut self, expression: &'ast syn::Expr) {
        self.expressions += 1;
        visit::visit_expr(self, expression);
    }
}

/// Counts tokens and finds the longest identifier among them.
#[derive(Default)]
pub struct Tokens {
    /// How many there are.
    pub count: u64,
    /// The longest identifier; of several, the first.
    pub longest: String,
    identifier: String,
}

impl Tokens {
    /// Counts the tokens of `stream`, those within delimiters too.
    pub fn count(&mut self, stream: TokenStream) {
        for token in stream {
            self.count += 1;
            match token {
                TokenTree::Group(group) => self.count(group.stream()),
                TokenTree::Ident(identifier) => self.compare(&identifier),
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
    }

    fn compare(&mut self, identifier: &proc_macro2::Ident) {
        self.identifier.clear();
        write!(self.identifier, "{identifier}").expect("writing to a string does not fail");
        if self.identifier.len() > self.longest.len() {
            self.longest.clone_from(&self.identifier);
        }
    }
}

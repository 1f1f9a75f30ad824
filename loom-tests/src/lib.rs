//! Loom models of the shared protocols; see the tests.

//! Loom models of the protocols that threads share; see each file.

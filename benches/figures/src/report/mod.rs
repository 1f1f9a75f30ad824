//! Runs the programs and tells what came out.

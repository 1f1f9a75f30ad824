//! Runs the other programs and prints what comes out.

fn main() -> std::process::ExitCode {
    figures::report::main()
}

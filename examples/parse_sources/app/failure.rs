//! Why the program ends early, and with which exit code.

use std::fmt;
use std::process::ExitCode;

/// A message for the person who started the program.
#[derive(Debug)]
pub enum Failure {
    /// Something asked for does not exist or cannot be used.
    Input(String),
    /// The runs do not agree.
    Mismatch(String),
}

impl Failure {
    /// What the process says to who started it.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Mismatch(_) => ExitCode::from(1),
            Self::Input(_) => ExitCode::from(2),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Input(message) | Self::Mismatch(message)) = self;
        write!(f, "error: {message}")
    }
}

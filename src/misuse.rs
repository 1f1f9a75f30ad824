//! How the library ends the process when it meets memory that was misused.
//!
//! A second free, a block of another allocator, a list of free blocks that leads in a circle: slow
//! paths look for them always, in release builds too, and end the process here. To go on would hand
//! out memory that somebody still uses.
//!
//! Always: [`end_process`] allocates nothing, takes no lock of this library, and does not unwind.

#![forbid(unsafe_code)]

use crate::sys;

/// Writes one sentence with the block's address to standard error, and ends the process.
///
/// `fault` says what was found, in a few words, without a full stop: "a block was freed twice".
/// `block` is the address of the block, or of the memory that the fault was found in.
#[cold]
#[inline(never)]
pub(crate) fn end_process(fault: &str, block: usize) -> ! {
    let mut line = Line { bytes: [0; LINE], len: 0 };
    line.add(b"context-allocator: ");
    line.add(fault.as_bytes());
    line.add(b" (at 0x");
    line.add_hexadecimal(block);
    line.add(b"); the process ends\n");
    sys::write_error(&line.bytes[..line.len]);
    sys::abort()
}

/// Ends the process if `fine` is false; see [`end_process`].
#[inline(always)]
pub(crate) fn check(fine: bool, fault: &str, block: usize) {
    if !fine {
        end_process(fault, block);
    }
}

const LINE: usize = 256;

/// A line of text on the stack; what does not fit is cut.
struct Line {
    bytes: [u8; LINE],
    len: usize,
}

impl Line {
    fn add(&mut self, text: &[u8]) {
        for (place, byte) in self.bytes[self.len..].iter_mut().zip(text) {
            *place = *byte;
            self.len += 1;
        }
    }

    fn add_hexadecimal(&mut self, number: usize) {
        let digits = (usize::BITS - number.leading_zeros()).div_ceil(4).max(1);
        for digit in (0..digits).rev() {
            let value = (number >> (4 * digit)) & 0xf;
            self.add(&[b"0123456789abcdef"[value]]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_holds_what_fits() {
        let mut line = Line { bytes: [0; LINE], len: 0 };
        line.add(b"at 0x");
        line.add_hexadecimal(0);
        line.add(b" 0x");
        line.add_hexadecimal(0x7f01_0203_ab00);
        assert_eq!(&line.bytes[..line.len], b"at 0x0 0x7f010203ab00");
        (0..100).for_each(|_| line.add(b"more than fits"));
        assert_eq!(line.len, LINE);
    }
}

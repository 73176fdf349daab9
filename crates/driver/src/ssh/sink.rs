//! Where the output of a program on a machine goes. Must not move a byte.

use std::os::fd::BorrowedFd;

/// Where a stream of a program leads.
#[derive(Clone, Copy, Debug)]
pub enum Sink<'a> {
    /// An open file, pipe or terminal, as it is.
    File(BorrowedFd<'a>),
    /// A pipe for whose reader alone the program runs: it is ended when nobody reads any more.
    Reader(BorrowedFd<'a>),
    /// Memory: so many of the first bytes.
    Memory(usize),
}

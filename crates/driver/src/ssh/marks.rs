//! The words by which the host follows a program on a machine: that it is about to begin, and how it ended. A machine
//! may lie in them about its own program, and about nothing else; must not hold more of its words than one mark.

/// Begins a mark, so that it is found also behind text without an end of line.
const BEFORE: &str = "\n";
/// Most digits of an exit code.
const DIGITS: usize = 3;

/// Runs on the machine as `sh -c SCRIPT cloud-machine-exec NONCE PROGRAM…`. The program begins only when the host has
/// answered the first mark: until then it is certain that it did not.
pub(super) const SCRIPT: &str = "n=$1; shift; printf '\\n%s begins\\n' \"$n\" >&2; IFS= read -r go; \
                                 [ \"$go\" = \"$n\" ] || exit 255; unset go; \"$@\"; s=$?; \
                                 printf '\\n%s ended %d\\n' \"$n\" \"$s\" >&2; exit \"$s\"";

/// What was found in standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// The machine is ready to run the program.
    Begins,
    /// The program ended with this code; 128 and the number of a signal for one that a signal ended, as shells have it.
    Ended(u8),
}

/// Takes the marks out of a stream.
#[derive(Debug)]
pub(super) struct Marks {
    begins: Vec<u8>,
    ended: Vec<u8>,
    /// Bytes that may be the start of a mark.
    held: Vec<u8>,
    has_begun: bool,
    has_ended: bool,
}

impl Marks {
    pub(super) fn new(nonce: &str) -> Self {
        let mark = |word: &str| format!("{BEFORE}{nonce} {word}").into_bytes();
        Self { begins: mark("begins\n"), ended: mark("ended "), held: Vec::new(), has_begun: false, has_ended: false }
    }

    /// Adds `piece`, appends what is no mark to `passed`, and gives the first mark that is complete. It must be asked
    /// again with an empty piece after each mark.
    pub(super) fn take(&mut self, piece: &[u8], passed: &mut Vec<u8>) -> Option<Mark> {
        self.held.extend_from_slice(piece);
        if self.has_ended {
            passed.append(&mut self.held);
            return None;
        }
        let wanted = if self.has_begun { &self.ended } else { &self.begins };
        let found = self.held.windows(wanted.len()).position(|window| window == wanted.as_slice());
        let Some(at) = found else {
            let keep = overlap(&self.held, wanted);
            passed.extend(self.held.drain(..self.held.len() - keep));
            return None;
        };
        let after = at + wanted.len();
        if !self.has_begun {
            passed.extend(self.held.drain(..after).take(at));
            self.has_begun = true;
            return Some(Mark::Begins);
        }
        match code(self.held.get(after..).unwrap_or_default()) {
            Code::Is(code, length) => {
                passed.extend(self.held.drain(..after + length).take(at));
                self.has_ended = true;
                Some(Mark::Ended(code))
            }
            // Only the program itself can have written that; it is text like any other.
            Code::None => {
                passed.extend(self.held.drain(..after));
                None
            }
            Code::Unfinished => {
                passed.extend(self.held.drain(..at));
                None
            }
        }
    }

    /// What is held when the stream ends.
    pub(super) fn rest(&mut self, passed: &mut Vec<u8>) {
        passed.append(&mut self.held);
    }
}

enum Code {
    Is(u8, usize),
    Unfinished,
    None,
}

/// An exit code with the end of its line.
fn code(text: &[u8]) -> Code {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    match text.get(digits) {
        _ if digits > DIGITS => Code::None,
        None => Code::Unfinished,
        Some(b'\n') => {
            let number = std::str::from_utf8(text.get(..digits).unwrap_or_default()).ok();
            number.and_then(|number| number.parse().ok()).map_or(Code::None, |code| Code::Is(code, digits + 1))
        }
        _ => Code::None,
    }
}

/// Length of the longest end of `text` with which `mark` begins.
fn overlap(text: &[u8], mark: &[u8]) -> usize {
    let longest = text.len().min(mark.len().saturating_sub(1));
    (1..=longest).rev().find(|length| text.ends_with(mark.get(..*length).unwrap_or_default())).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Marks and text of a stream that comes in pieces of `size` bytes.
    fn read(stream: &[u8], size: usize) -> (Vec<Mark>, Vec<u8>) {
        let (mut marks, mut found, mut passed) = (Marks::new("abc"), Vec::new(), Vec::new());
        for piece in stream.chunks(size) {
            let mut mark = marks.take(piece, &mut passed);
            while let Some(one) = mark {
                found.push(one);
                mark = marks.take(b"", &mut passed);
            }
            assert!(marks.held.len() <= "\nabc ended 123".len(), "{:?}", marks.held);
        }
        marks.rest(&mut passed);
        (found, passed)
    }

    #[test]
    fn marks_are_found_and_everything_else_passes_however_it_is_cut() {
        for (stream, marks, text) in [
            (&b"\nabc begins\n\nabc ended 0\n"[..], vec![Mark::Begins, Mark::Ended(0)], &b""[..]),
            (b"motd\nabc begins\nx\n\nabc ended 255\nafter", vec![Mark::Begins, Mark::Ended(255)], b"motdx\nafter"),
            (b"\nabc begins\nno end of line\nabc ended 3\n", vec![Mark::Begins, Mark::Ended(3)], b"no end of line"),
            (b"\nabc ended 3\n", vec![], b"\nabc ended 3\n"),
            (b"\nabc begins\n\nabc ended 256\n", vec![Mark::Begins], b"\nabc ended 256\n"),
            (b"\nabc begins\n\nabc ended 1x", vec![Mark::Begins], b"\nabc ended 1x"),
            (b"\nabc begins\n\nabc ended 00001\n", vec![Mark::Begins], b"\nabc ended 00001\n"),
            (b"\nabc begins\n\nabc ended 1", vec![Mark::Begins], b"\nabc ended 1"),
            (b"\n\n\nabc begins\n\n\nabc ended 7\n\n", vec![Mark::Begins, Mark::Ended(7)], b"\n\n\n\n"),
        ] {
            for size in 1..=stream.len() {
                let (found, passed) = read(stream, size);
                assert_eq!(found, marks, "{} in pieces of {size}", stream.escape_ascii());
                assert_eq!(passed.escape_ascii().to_string(), text.escape_ascii().to_string(), "in pieces of {size}");
            }
        }
    }

    proptest! {
        #[test]
        fn no_byte_of_a_hostile_stream_is_lost(
            stream in proptest::collection::vec(prop_oneof![Just(b'\n'), Just(b'a'), Just(b'b'), Just(b'c'), Just(b' ')], 1..200),
            size in 1_usize..50,
        ) {
            let (found, passed) = read(&stream, size);
            prop_assert_eq!(found, Vec::new());
            prop_assert_eq!(passed, stream);
        }
    }
}

//! Arguments of `console`. Must not open a terminal.

use std::{fmt, str::FromStr};

use clap::Args;
use cloud_machine_protocol::MachineName;

#[derive(Debug, Args)]
pub(crate) struct Console {
    /// Name of the machine
    pub(crate) name: MachineName,
    /// Lines from the end, of its last 4 MiB at most; 0 for all
    #[arg(long, short = 'n', default_value_t = 0)]
    pub(crate) lines: usize,
    /// Go on printing what comes until the machine's process ends
    #[arg(long, short)]
    pub(crate) follow: bool,
    /// Attach this terminal to the serial line: what is typed reaches the machine
    #[arg(long, short, conflicts_with_all = ["lines", "follow"])]
    pub(crate) attach: bool,
    /// The key that ends it
    #[arg(long, value_name = "KEY", default_value = "ctrl-]", requires = "attach")]
    pub(crate) detach_key: DetachKey,
}

/// A key with ctrl, as the byte that a terminal sends for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DetachKey(u8);

/// What a terminal takes from a character that is typed with ctrl (ascii(7)).
const CTRL: u8 = 0x1f;
/// The bit of the character that ctrl took.
const CHARACTER: u8 = 0x40;

impl DetachKey {
    /// What a terminal sends for it.
    pub(crate) fn byte(self) -> u8 {
        self.0
    }
}

impl fmt::Display for DetachKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ctrl-{}", char::from(self.0 | CHARACTER).to_ascii_lowercase())
    }
}

impl FromStr for DetachKey {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("ctrl-").unwrap_or_default().as_bytes() {
            [key @ (b'a'..=b'z' | b']' | b'\\' | b'^' | b'_')] => Ok(Self(key & CTRL)),
            _ => Err("a key is ctrl- and a small letter or one of ] \\ ^ _, such as ctrl-]"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_what_a_terminal_sends_for_it() {
        for (text, byte) in
            [("ctrl-]", 0x1d), ("ctrl-a", 1), ("ctrl-z", 26), ("ctrl-\\", 0x1c), ("ctrl-^", 0x1e), ("ctrl-_", 0x1f)]
        {
            let key: DetachKey = text.parse().unwrap();
            assert_eq!((key.byte(), key.to_string()), (byte, text.to_owned()));
        }
        for text in ["", "]", "ctrl-", "ctrl-A", "ctrl-aa", "ctrl-1", "ctrl-é", "alt-a"] {
            assert!(text.parse::<DetachKey>().is_err(), "{text}");
        }
    }
}

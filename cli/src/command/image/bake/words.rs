//! What the machine that bakes says over its serial port. Must not decide what follows from it.

use cloud_machine_protocol::{bake, escape};

/// Longest text that is shown of a line.
const LONGEST: usize = 400;

/// All that was said so far. The texts are the image's own, made safe to show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Words {
    /// The kernel's name of the device with the root.
    pub(super) root: String,
    pub(super) generator: String,
    /// Whose policy holds: `image` or `default`.
    pub(super) policy: String,
    /// Whether the image had an agent before.
    pub(super) replaced: bool,
    /// The initramfs files that were made, with their bytes.
    pub(super) made: Vec<(u64, String)>,
    /// The last lines of a generator that failed.
    pub(super) log: Vec<String>,
    /// Code and text.
    pub(super) failed: Option<(String, String)>,
    /// Whether it ended well.
    pub(super) done: bool,
}

impl Words {
    /// Takes a line; gives what people are told of it at once.
    pub(super) fn take(&mut self, line: &[u8]) -> Option<String> {
        let line = escape::line(line.trim_ascii(), LONGEST);
        let (word, text) = line.split_once(' ').unwrap_or((&line, ""));
        let text = text.to_owned();
        match word {
            "step" | "note" => return Some(text),
            "root" => self.root = text,
            "generator" => self.generator = text,
            "policy" => self.policy = text,
            "replaced" => self.replaced = true,
            "made" => {
                let (bytes, path) = text.split_once(' ').unwrap_or_default();
                self.made.push((bytes.parse().unwrap_or_default(), path.to_owned()));
            }
            "log" => self.log.push(text),
            // The first is the reason, whatever it brings about.
            bake::FAILED if self.failed.is_none() => {
                let (code, text) = text.split_once(' ').unwrap_or((&text, ""));
                self.failed = Some((code.to_owned(), text.to_owned()));
            }
            "done" => self.done = true,
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_kept_and_steps_are_told() {
        let mut words = Words::default();
        let said = "root vda3\r\ngenerator dracut\r\nstep run dracut\r\nmade 12 /boot/initrd a\r\nmade x /boot/b\r\n\
                    policy image\r\nreplaced\r\nnoise\r\n\r\ndone\r\n";
        let told: Vec<String> = said.split('\n').filter_map(|line| words.take(line.as_bytes())).collect();
        assert_eq!(told, ["run dracut"]);
        assert_eq!((words.root.as_str(), words.generator.as_str(), words.policy.as_str()), ("vda3", "dracut", "image"));
        assert_eq!(words.made, [(12, "/boot/initrd a".to_owned()), (0, "/boot/b".to_owned())]);
        assert!(words.replaced && words.done && words.failed.is_none());
    }

    #[test]
    fn the_first_failure_is_the_reason_and_nothing_that_a_terminal_obeys_is_shown() {
        let mut words = Words::default();
        for line in ["log one", "log \u{1b}[2Jtwo", "failed full dracut", "failed unmount /"] {
            assert_eq!(words.take(line.as_bytes()), None);
        }
        assert_eq!(words.failed, Some(("full".to_owned(), "dracut".to_owned())));
        assert!(words.log.len() == 2 && !words.log[1].contains('\u{1b}'), "{words:?}");
        assert!(!words.done);
    }
}

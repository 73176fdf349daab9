//! Arguments of the kernel command line that are meant for the agent. Parses text; reads nothing.

use cloud_machine_protocol::{Algorithm, Digest, PROBE_ARGUMENT, bake, recovery, volume::PIN_ARGUMENT};

use crate::{error::AgentError, pin::PinSource};

/// The kernel command line.
pub(crate) struct CommandLine<'a>(&'a str);

impl<'a> CommandLine<'a> {
    pub(crate) fn new(line: &'a str) -> Self {
        Self(line)
    }

    /// What the machine's own system is to mount as its root: the last occurrence of `root=` that says something.
    pub(crate) fn root(&self) -> Option<&'a str> {
        self.value("root")
    }

    /// The number of the partition with the root of the image that is baked, where somebody named one.
    pub(crate) fn bake_root(&self) -> Option<&'a str> {
        self.value(bake::ROOT_ARGUMENT)
    }

    /// Whether the recovery partition was started.
    pub(crate) fn is_recovery(&self) -> bool {
        self.has(recovery::ARGUMENT)
    }

    /// The token of the request that is staged there.
    pub(crate) fn token(&self) -> Option<&'a str> {
        self.value(recovery::TOKEN_ARGUMENT)
    }

    fn value(&self, name: &str) -> Option<&'a str> {
        let arguments = self.0.split_ascii_whitespace();
        let mut values = arguments.filter_map(|argument| argument.strip_prefix(name)?.strip_prefix('='));
        values.rfind(|value| !value.is_empty())
    }

    /// Whether the host only wants to see that the agent is alive.
    pub(crate) fn is_probe(&self) -> bool {
        self.has(PROBE_ARGUMENT)
    }

    /// Whether this machine is there to bake an image.
    pub(crate) fn is_bake(&self) -> bool {
        self.has(bake::ARGUMENT)
    }

    fn has(&self, word: &str) -> bool {
        self.0.split_ascii_whitespace().any(|argument| argument == word)
    }
}

impl PinSource for CommandLine<'_> {
    fn name(&self) -> &'static str {
        "the kernel command line"
    }

    /// The last occurrence counts, as for the kernel's own arguments.
    fn pin(&self) -> Result<Option<Digest>, AgentError> {
        let arguments = self.0.split_ascii_whitespace();
        let last = arguments.filter_map(|argument| argument.strip_prefix(PIN_ARGUMENT)?.strip_prefix('=')).next_back();
        let Some(text) = last else { return Ok(None) };
        let digest: Digest = text.parse().map_err(AgentError::PinInvalid)?;
        if digest.algorithm() == Algorithm::Sha256 { Ok(Some(digest)) } else { Err(AgentError::PinAlgorithm) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_pin_counts() {
        let (first, last) = ("0".repeat(64), "1".repeat(64));
        let line = format!("console=ttyS0 {PIN_ARGUMENT}=sha256:{first} {PIN_ARGUMENT}=sha256:{last} panic=-1");
        assert_eq!(CommandLine::new(&line).pin().unwrap().unwrap().hex(), last);
    }

    #[test]
    fn absent_invalid_and_of_another_algorithm_are_told_apart() {
        assert!(matches!(CommandLine::new("console=ttyS0 xcloudmachine.pin=1").pin(), Ok(None)));
        assert!(matches!(CommandLine::new("cloudmachine.pin=").pin(), Err(AgentError::PinInvalid(_))));
        let blake3 = format!("cloudmachine.pin=blake3:{}", "0".repeat(64));
        assert!(matches!(CommandLine::new(&blake3).pin(), Err(AgentError::PinAlgorithm)));
    }

    #[test]
    fn probe_mode_is_a_whole_argument() {
        assert!(CommandLine::new("console=ttyS0 cloudmachine.mode=probe").is_probe());
        assert!(!CommandLine::new("cloudmachine.mode=probes").is_probe());
        assert!(!CommandLine::new("cloudmachine.mode=probe").is_bake());
    }

    #[test]
    fn the_root_of_an_image_is_not_that_of_the_machine() {
        let line = CommandLine::new("root=/dev/vda1 root= cloudmachine.mode=bake cloudmachine.bake-root=3");
        assert_eq!((line.root(), line.bake_root(), line.is_bake()), (Some("/dev/vda1"), Some("3"), true));
        assert_eq!(CommandLine::new("cloudmachine.bake-root=").bake_root(), None);
    }
}

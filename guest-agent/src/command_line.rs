//! Arguments of the kernel command line that are meant for the agent. Parses text; reads nothing.

use cloud_machine_protocol::{Algorithm, Digest, volume::PIN_ARGUMENT};

use crate::error::AgentError;

/// Argument that only asks whether this kernel and this agent start at all.
const PROBE_MODE: &str = "cloudmachine.mode=probe";

/// Whether the host only wants to see that the agent is alive.
pub(crate) fn is_probe(command_line: &str) -> bool {
    command_line.split_ascii_whitespace().any(|argument| argument == PROBE_MODE)
}

/// The SHA-256 of the host's volume. The last occurrence counts, as for the kernel's own arguments.
pub(crate) fn pin(command_line: &str) -> Result<Digest, AgentError> {
    let text = command_line
        .split_ascii_whitespace()
        .filter_map(|argument| argument.strip_prefix(PIN_ARGUMENT)?.strip_prefix('='))
        .next_back()
        .ok_or(AgentError::PinAbsent)?;
    let digest: Digest = text.parse().map_err(AgentError::PinInvalid)?;
    if digest.algorithm() == Algorithm::Sha256 { Ok(digest) } else { Err(AgentError::PinAlgorithm) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_pin_counts() {
        let (first, last) = ("0".repeat(64), "1".repeat(64));
        let line = format!("console=ttyS0 {PIN_ARGUMENT}=sha256:{first} {PIN_ARGUMENT}=sha256:{last} panic=-1");
        assert_eq!(pin(&line).unwrap().hex(), last);
    }

    #[test]
    fn absent_invalid_and_of_another_algorithm_are_three_errors() {
        assert!(matches!(pin("console=ttyS0 xcloudmachine.pin=1"), Err(AgentError::PinAbsent)));
        assert!(matches!(pin("cloudmachine.pin="), Err(AgentError::PinInvalid(_))));
        let blake3 = format!("cloudmachine.pin=blake3:{}", "0".repeat(64));
        assert!(matches!(pin(&blake3), Err(AgentError::PinAlgorithm)));
    }

    #[test]
    fn probe_mode_is_a_whole_argument() {
        assert!(is_probe("console=ttyS0 cloudmachine.mode=probe"));
        assert!(!is_probe("cloudmachine.mode=probes"));
    }
}

//! What each root of trust lets a report prove: the highest assurance, what of the report the host can hold against what it
//! gave, and what is left open. Must not take a word of the report for who started its author.

use cloud_machine_protocol::{Assurance, Report, RescueHostKey, RootOfTrust, Tier};

use crate::{expected::Expected, rejection::Rejection};

/// The highest assurance that a report can have, by who chose the code that reports.
#[must_use]
pub const fn highest_assurance(root_of_trust: RootOfTrust) -> Assurance {
    match root_of_trust {
        RootOfTrust::MachineDisk => Assurance::Unproven,
        RootOfTrust::Provider => Assurance::ProviderRooted,
        RootOfTrust::Host => Assurance::HostRooted,
    }
}

/// What an assurance does not cover when the system disk was made equal to the image by `tier`, on a rescue system of whose
/// host key this was known.
#[must_use]
pub fn gaps(assurance: Assurance, tier: Option<Tier>, rescue_host_key: Option<RescueHostKey>) -> String {
    let unread = tier.and_then(Tier::does_not_cover);
    let gaps: Vec<&str> = [assurance.does_not_cover_of(rescue_host_key)].into_iter().chain(unread).collect();
    gaps.join("; ")
}

/// Why nothing could be concluded from any report, by who chose the code that reports; `None` when something can.
pub(crate) fn incomplete(expected: &Expected) -> Option<&'static str> {
    let provider = expected.root_of_trust == RootOfTrust::Provider;
    let own_kernel = [expected.kernel_release.is_some(), expected.command_line.is_some()];
    let wanted = match expected.root_of_trust {
        RootOfTrust::Provider => [false; 2],
        RootOfTrust::Host => [true; 2],
        // The boot loader of the machine's disk adds to it.
        RootOfTrust::MachineDisk => [true, own_kernel[1]],
    };
    if provider != expected.rescue_host_key.is_some() {
        Some("it must be said of a provider's system, and of no other, whether its host key was known")
    } else if own_kernel != wanted {
        Some("kernel release and command line must be the host's own, or both a provider's")
    } else if expected.root_of_trust == RootOfTrust::Host && !expected.volume_attached {
        Some("a host that starts the kernel pins its volume on the command line, so it must have attached it")
    } else if provider && matches!(expected.request.tier, Some(Tier::Overlay | Tier::Hinted)) {
        Some("only a host that has the disk itself can answer for what is not read of it")
    } else {
        None
    }
}

/// Holds what was started against what the host gave, and says what was checked. The kernel of a provider's system is the
/// provider's own, so the report's word about it decides nothing.
pub(crate) fn started_with(expected: &Expected, report: &Report) -> Result<&'static str, Rejection> {
    let command_line = report.agent.command_line_digest;
    match report.agent.digest {
        Some(agent) if agent == expected.agent => {}
        Some(found) => return Err(Rejection::Agent { expected: expected.agent, found }),
        None => return Err(Rejection::AgentUnknown { expected: expected.agent }),
    }
    if let Some(expected) = expected.command_line.filter(|expected| *expected != command_line) {
        return Err(Rejection::CommandLine { expected, found: command_line });
    }
    if let Some(expected) = expected.kernel_release.as_ref().filter(|release| **release != report.agent.kernel_release)
    {
        let (expected, found) = (expected.clone(), report.agent.kernel_release.clone());
        return Err(Rejection::KernelRelease { expected, found });
    }
    Ok(match expected.rescue_host_key {
        None if expected.command_line.is_none() => {
            "digest of the agent, and the kernel's release, as the report has them"
        }
        None => "digests of the agent and of the kernel command line, and the kernel's release",
        Some(RescueHostKey::Unknown) => "digest of the agent, which the host put into the provider's rescue system",
        Some(RescueHostKey::Known) => {
            "digest of the agent, which the host put into the provider's rescue system; that system's host key, which was \
             known before"
        }
    })
}

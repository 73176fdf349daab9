//! Which volume is the host's: its digest, from wherever the host can put it and no job could have. Must not look at a volume.

use cloud_machine_protocol::Digest;

use crate::error::AgentError;

/// A place where the host may put the pin.
pub(crate) trait PinSource {
    /// What errors call it.
    fn name(&self) -> &'static str;

    /// The SHA-256 of the host's volume; `None` when nothing is said there.
    fn pin(&self) -> Result<Option<Digest>, AgentError>;
}

/// The pin of a machine that has a host.
pub(crate) fn of(sources: &[&dyn PinSource]) -> Result<Digest, AgentError> {
    let places = || sources.iter().map(|source| source.name()).collect::<Vec<_>>().join(", ");
    agreed(sources)?.ok_or_else(|| AgentError::PinAbsent { places: places() })
}

/// The pin, if any of the sources says one. Those that do must all say the same: which of two is the host's, nobody here can tell.
pub(crate) fn agreed(sources: &[&dyn PinSource]) -> Result<Option<Digest>, AgentError> {
    let mut found: Option<(Digest, &'static str)> = None;
    for source in sources {
        match (source.pin()?, found) {
            (Some(pin), None) => found = Some((pin, source.name())),
            (Some(pin), Some((first, place))) if pin != first => {
                return Err(AgentError::PinsDiffer { first: place, second: source.name() });
            }
            _ => {}
        }
    }
    Ok(found.map(|(pin, _)| pin))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Source(&'static str, Option<u8>);

    impl PinSource for Source {
        fn name(&self) -> &'static str {
            self.0
        }

        fn pin(&self) -> Result<Option<Digest>, AgentError> {
            Ok(self.1.map(|byte| format!("sha256:{}", format!("{byte:02x}").repeat(32)).parse().unwrap()))
        }
    }

    fn said(sources: &[Source]) -> String {
        let sources: Vec<&dyn PinSource> = sources.iter().map(|source| source as &dyn PinSource).collect();
        of(&sources).map_or_else(|error| error.to_string(), |pin| pin.hex()[..2].to_owned())
    }

    #[test]
    fn one_source_is_enough_and_two_must_agree() {
        assert_eq!(said(&[Source("a", None), Source("b", Some(7))]), "07");
        assert_eq!(said(&[Source("a", Some(7)), Source("b", Some(7))]), "07");
        assert_eq!(said(&[Source("a", Some(7)), Source("b", Some(8))]), "the pins of a and b differ");
        assert_eq!(said(&[Source("a", None), Source("b", None)]), "there is no cloudmachine.pin: not on a, b");
    }
}

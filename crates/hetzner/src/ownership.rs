//! Labels that say whose something is: of which host, which machine, which attempt. Must not ask the provider.

use crate::{ApiError, servers::Labels};

/// The host whose state folder knows it.
pub const OWNER: &str = "cloud-machine.owner";
/// The machine that it is, or is for.
pub const MACHINE: &str = "cloud-machine.machine";
/// The attempt that made it, by which it is found when the answer was lost.
pub const CREATE: &str = "cloud-machine.create";

/// Whose something is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ownership {
    owner: String,
    machine: String,
    create: String,
}

impl Ownership {
    /// `owner` is the id of the host's state folder, `machine` the name of the machine, `create` a text that no other attempt
    /// has and that is kept before the attempt begins.
    ///
    /// # Errors
    /// [`ApiError::Label`] for a text that the provider does not take as a label.
    pub fn new(owner: &str, machine: &str, create: &str) -> Result<Self, ApiError> {
        let (owner, machine, create) = (label(OWNER, owner)?, label(MACHINE, machine)?, label(CREATE, create)?);
        Ok(Self { owner, machine, create })
    }

    /// The labels of what is made.
    #[must_use]
    pub fn labels(&self) -> Labels {
        [(OWNER, &self.owner), (MACHINE, &self.machine), (CREATE, &self.create)]
            .map(|(key, value)| (key.to_owned(), value.clone()))
            .into()
    }

    /// Selects everything of the machine.
    #[must_use]
    pub fn of_machine(&self) -> String {
        format!("{OWNER}=={},{MACHINE}=={}", self.owner, self.machine)
    }

    /// Selects what the attempt made.
    #[must_use]
    pub fn of_attempt(&self) -> String {
        format!("{},{CREATE}=={}", self.of_machine(), self.create)
    }

    /// Whether these are labels of the machine.
    #[must_use]
    pub fn is_machine(&self, labels: &Labels) -> bool {
        labels.get(OWNER) == Some(&self.owner) && labels.get(MACHINE) == Some(&self.machine)
    }

    /// Whether these are labels of the attempt.
    #[must_use]
    pub fn is_attempt(&self, labels: &Labels) -> bool {
        self.is_machine(labels) && labels.get(CREATE) == Some(&self.create)
    }
}

/// A text that the provider takes as the value of a label and that a selector holds as it is.
pub(crate) fn label(key: &'static str, text: &str) -> Result<String, ApiError> {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let is_end = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric());
    let is_good = text.len() <= 63
        && text.bytes().all(is_inner)
        && is_end(text.bytes().next())
        && is_end(text.bytes().next_back());
    let refused = || ApiError::Label { key, text: text.chars().take(80).collect() };
    is_good.then(|| text.to_owned()).ok_or_else(refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_the_provider_takes_is_a_label() {
        for good in ["a", "ci-1", "01KBA.x_y-Z9", &"x".repeat(63)] {
            assert!(Ownership::new(good, good, good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a.", "a b", "a,b==c", "a\u{e4}", "a\n", &"x".repeat(64)] {
            let error = Ownership::new("a", bad, "b").unwrap_err().to_string();
            assert!(error.contains("cannot be the label cloud-machine.machine"), "{error}");
            assert!(Ownership::new(bad, "a", "b").is_err() && Ownership::new("a", "b", bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn labels_belong_to_one_host_one_machine_and_one_attempt() {
        let own = Ownership::new("host", "ci-1", "a1").unwrap();
        let of = |owner, machine, create| Ownership::new(owner, machine, create).unwrap().labels();
        assert!(own.is_attempt(&own.labels()));
        let later = of("host", "ci-1", "a2");
        assert!(own.is_machine(&later) && !own.is_attempt(&later));
        for other in [of("other", "ci-1", "a1"), of("host", "ci-2", "a1"), Labels::new()] {
            assert!(!own.is_machine(&other) && !own.is_attempt(&other));
        }
        let selector = "cloud-machine.owner==host,cloud-machine.machine==ci-1,cloud-machine.create==a1";
        assert_eq!(own.of_attempt(), selector);
    }
}

//! How a driver says what it makes of the configuration, and what it cannot. Must not name anything of one driver.

use std::fmt;

/// How a driver treats a key of the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// As it is written.
    Exact,
    /// The nearest value that is possible, never less than what is written.
    Rounded {
        /// To what.
        to: &'static str,
    },
    /// It has no effect, and the machine works without it.
    Ignored {
        /// Why.
        why: &'static str,
    },
    /// The driver does not know the key.
    Unsupported,
}

impl Support {
    /// Whether a key that the configuration requires may be treated so.
    #[must_use]
    pub const fn satisfies(self) -> bool {
        matches!(self, Self::Exact | Self::Rounded { .. })
    }
}

impl fmt::Display for Support {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact => formatter.write_str("exact"),
            Self::Rounded { to } => write!(formatter, "rounded ({to})"),
            Self::Ignored { why } => write!(formatter, "ignored ({why})"),
            Self::Unsupported => formatter.write_str("unsupported"),
        }
    }
}

/// What a driver makes of the keys below `cloud-machine`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    driver: &'static str,
    keys: Vec<(&'static str, Support)>,
}

impl Description {
    /// Describes `driver`. In a key path `*` stands for one part, such as a disk's name.
    #[must_use]
    pub fn new(driver: &'static str, keys: &[(&'static str, Support)]) -> Self {
        Self { driver, keys: keys.to_vec() }
    }

    /// Name of the driver.
    #[must_use]
    pub fn driver(&self) -> &'static str {
        self.driver
    }

    /// How the driver treats the key at `path`; a key that it does not list is unsupported.
    #[must_use]
    pub fn support(&self, path: &str) -> Support {
        let matches = |pattern: &str| {
            // Most keys differ in their first letter from all that a driver knows; only the others are taken to pieces.
            let first = pattern.as_bytes().first();
            if first != path.as_bytes().first() && first != Some(&b'*') {
                return false;
            }
            let (mut wanted, mut parts) = (pattern.split('.'), path.split('.'));
            loop {
                match (wanted.next(), parts.next()) {
                    (None, None) => return true,
                    (Some(want), Some(part)) if want == "*" || want == part => {}
                    _ => return false,
                }
            }
        };
        self.keys.iter().find(|(pattern, _)| matches(pattern)).map_or(Support::Unsupported, |(_, support)| *support)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_exactly_one_part() {
        let description = Description::new("x", &[("a.*.b", Support::Exact), ("c", Support::Rounded { to: "1 GiB" })]);
        assert_eq!(description.support("a.any.b"), Support::Exact);
        for path in ["a.b", "a.x.y.b", "a.x.b.c", "", "c.d"] {
            assert_eq!(description.support(path), Support::Unsupported, "{path:?}");
        }
        assert_eq!(description.support("c").to_string(), "rounded (1 GiB)");
        assert!(description.support("c").satisfies() && !Support::Unsupported.satisfies());
    }
}

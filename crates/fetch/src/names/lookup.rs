//! From a name to its addresses: those of IPv4, or else of IPv6, along its aliases. Must not know how servers are asked.

use std::net::{IpAddr, Ipv4Addr};

use super::{
    exchange::Failure,
    message::{Answer, Family, MAX_ALIASES, Name},
};

/// Why a name has no address.
#[derive(Debug, thiserror::Error)]
pub(super) enum LookupError {
    #[error("it is no name of a host")]
    Invalid(#[source] domain::base::name::FromStrError),
    #[error("there is no such name")]
    NoName,
    #[error("it has no address")]
    NoAddress,
    #[error("it is an alias of an alias, more than {MAX_ALIASES} times")]
    TooManyAliases,
    #[error(transparent)]
    Failed(#[from] Failure),
}

/// The addresses of `name`, which is whole with and without its final dot. `ask` asks a server.
pub(super) fn lookup(
    name: &str,
    mut ask: impl FnMut(&Name, Family) -> Result<Answer, Failure>,
) -> Result<Vec<IpAddr>, LookupError> {
    let name = Name::from_chars(name.chars()).map_err(LookupError::Invalid)?;
    if let Some(known) = special(&name) {
        return known;
    }
    let first = match of_family(&name, Family::V4, &mut ask) {
        Ok(addresses) => return Ok(addresses),
        Err(error) => error,
    };
    // Whatever it was, the name may have an address of the other family.
    of_family(&name, Family::V6, &mut ask).map_err(|second| match first {
        LookupError::NoAddress | LookupError::NoName => second,
        first => first,
    })
}

/// Names that no server is to be asked for (RFC 6761, 6.3 and 6.4; RFC 7686).
fn special(name: &Name) -> Option<Result<Vec<IpAddr>, LookupError>> {
    let last = name.iter().rfind(|label| !label.is_root())?;
    match last.as_slice().to_ascii_lowercase().as_slice() {
        b"localhost" => Some(Ok(vec![Ipv4Addr::LOCALHOST.into()])),
        b"invalid" | b"onion" => Some(Err(LookupError::NoName)),
        _ => None,
    }
}

fn of_family(
    name: &Name,
    family: Family,
    ask: &mut impl FnMut(&Name, Family) -> Result<Answer, Failure>,
) -> Result<Vec<IpAddr>, LookupError> {
    let (mut name, mut left) = (name.clone(), MAX_ALIASES);
    loop {
        match ask(&name, family)? {
            Answer::Addresses(addresses) => return Ok(addresses),
            // A server that does not follow aliases itself: the next question is for where they led.
            Answer::Alias(next, aliases) => {
                left = left.checked_sub(aliases).ok_or(LookupError::TooManyAliases)?;
                name = *next;
            }
            Answer::TooManyAliases => return Err(LookupError::TooManyAliases),
            Answer::NoAddress => return Err(LookupError::NoAddress),
            Answer::NoName => return Err(LookupError::NoName),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, time::Duration};

    use super::*;
    use crate::names::fake::name;

    const V4: &str = "192.0.2.1";
    const V6: &str = "2001:db8::1";

    fn addresses(address: &str) -> Result<Answer, Failure> {
        Ok(Answer::Addresses(vec![address.parse().unwrap()]))
    }

    fn silent() -> Result<Answer, Failure> {
        Err(Failure::Silent(Duration::from_secs(2)))
    }

    /// What comes of `name`, and what was asked for it.
    fn find(
        name: &str,
        ask: impl Fn(&str, Family) -> Result<Answer, Failure>,
    ) -> (Result<Vec<IpAddr>, String>, Vec<String>) {
        let asked = RefCell::new(Vec::new());
        let found = lookup(name, |name, family| {
            asked.borrow_mut().push(format!("{name} {family:?}"));
            ask(&name.to_string(), family)
        });
        (found.map_err(|error| error.to_string()), asked.into_inner())
    }

    #[test]
    fn ipv6_is_asked_for_where_ipv4_has_nothing() {
        let (found, asked) = find("seed.test", |_, _| addresses(V4));
        assert_eq!((found, asked), (Ok(vec![V4.parse().unwrap()]), vec!["seed.test V4".to_owned()]));
        for first in [|| Ok(Answer::NoAddress), || Ok(Answer::NoName), silent, || Ok(Answer::TooManyAliases)] {
            let (found, asked) = find("seed.test", |_, family| match family {
                Family::V4 => first(),
                Family::V6 => addresses(V6),
            });
            assert_eq!(found, Ok(vec![V6.parse().unwrap()]));
            assert_eq!(asked, ["seed.test V4", "seed.test V6"]);
        }
    }

    #[test]
    fn the_failure_that_says_more_is_told() {
        for (first, second, expected) in [
            (silent as fn() -> _, (|| Ok(Answer::NoAddress)) as fn() -> _, "no answer within 2.0 s"),
            (|| Ok(Answer::NoAddress), silent, "no answer within 2.0 s"),
            (|| Ok(Answer::NoName), || Ok(Answer::NoName), "there is no such name"),
            (|| Ok(Answer::NoAddress), || Ok(Answer::NoAddress), "it has no address"),
        ] {
            let (found, _) = find("seed.test", |_, family| if family == Family::V4 { first() } else { second() });
            assert_eq!(found, Err(expected.to_owned()));
        }
    }

    #[test]
    fn a_name_is_whole_and_never_searched_for() {
        for text in ["seed", "seed.test", "seed.test."] {
            let (_, asked) = find(text, |_, _| Ok(Answer::NoName));
            let whole = text.trim_end_matches('.');
            assert_eq!(asked, [format!("{whole} V4"), format!("{whole} V6")]);
        }
        for text in ["seed..test", "", &"a".repeat(64), &"a.".repeat(128)] {
            let (found, asked) = find(text, |_, _| addresses(V4));
            assert_eq!(found, Err("it is no name of a host".to_owned()), "{text:?}");
            assert!(asked.is_empty());
        }
    }

    #[test]
    fn names_that_mean_the_same_everywhere_are_asked_of_nobody() {
        for (text, expected) in [
            ("localhost", Ok(vec![Ipv4Addr::LOCALHOST.into()])),
            ("a.LocalHost.", Ok(vec![Ipv4Addr::LOCALHOST.into()])),
            ("seed.invalid", Err("there is no such name".to_owned())),
            ("seed.onion", Err("there is no such name".to_owned())),
        ] {
            let (found, asked) = find(text, |_, _| addresses(V4));
            assert_eq!((found, asked), (expected, Vec::new()), "{text}");
        }
    }

    #[test]
    fn an_alias_that_the_server_does_not_follow_is_asked_for() {
        let (found, asked) = find("seed.test", |asked, _| match asked {
            "seed.test" => Ok(Answer::Alias(name("b.test").into(), 3)),
            _ => addresses(V4),
        });
        assert_eq!(found, Ok(vec![V4.parse().unwrap()]));
        assert_eq!(asked, ["seed.test V4", "b.test V4"]);
    }

    #[test]
    fn aliases_end_however_few_each_answer_has() {
        let circle =
            |asked: &str, _| Ok(Answer::Alias(name(if asked == "a.test" { "b.test" } else { "a.test" }).into(), 1));
        let (found, asked) = find("a.test", circle);
        assert_eq!(found, Err("it is an alias of an alias, more than 8 times".to_owned()));
        assert_eq!(asked.len(), 2 * (MAX_ALIASES + 1));
    }
}

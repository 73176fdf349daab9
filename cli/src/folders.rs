//! The user's base folders after the XDG Base Directory Specification: one rule for all of them. Must not make a folder.

use std::{env, ffi::OsString, path::PathBuf};

use crate::failure::{Failure, Kind};

/// `$VARIABLE/cloud-machine` or `~/BELOW/cloud-machine`; `None` without that variable and a home.
///
/// A relative path in the variable is ignored, as the specification has it, and that is said. A relative `HOME` is an
/// error where it is needed: what it leads to would change with the working folder.
pub(crate) fn base(variable: &str, below: &str) -> Result<Option<PathBuf>, Failure> {
    let (folder, ignored) = choose(env::var_os(variable), env::var_os("HOME"), below)?;
    if let Some(path) = ignored {
        tracing::warn!("{variable} is ignored: {path:?} is not an absolute path");
    }
    Ok(folder)
}

/// The folder, and the value of the variable when it does not count.
fn choose(
    variable: Option<OsString>,
    home: Option<OsString>,
    below: &str,
) -> Result<(Option<PathBuf>, Option<PathBuf>), Failure> {
    let stated = |value: Option<OsString>| value.filter(|value| !value.is_empty()).map(PathBuf::from);
    let (variable, home) = (stated(variable), stated(home));
    let (base, ignored) = match variable {
        Some(path) if path.is_absolute() => (Some(path), None),
        ignored => match home {
            Some(home) if !home.is_absolute() => {
                let text = format!("HOME is {home:?}, which is not an absolute path");
                return Err(Failure::new(Kind::Refused, text).hint("set HOME to the folder's whole path"));
            }
            home => (home.map(|home| home.join(below)), ignored),
        },
    };
    Ok((base.map(|base| base.join("cloud-machine")), ignored))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn chosen(variable: Option<&str>, home: Option<&str>) -> Result<(Option<PathBuf>, Option<PathBuf>), Failure> {
        choose(variable.map(OsString::from), home.map(OsString::from), ".config")
    }

    #[test]
    fn an_absolute_variable_counts_and_nothing_else_is_asked() {
        for home in [None, Some("/home/me"), Some("relative")] {
            let (folder, ignored) = chosen(Some("/x"), home).unwrap();
            assert_eq!((folder.as_deref(), ignored), (Some(Path::new("/x/cloud-machine")), None));
        }
    }

    #[test]
    fn a_relative_variable_is_ignored_and_said_and_an_empty_one_is_none() {
        let home = PathBuf::from("/home/me/.config/cloud-machine");
        let relative = chosen(Some("relative"), Some("/home/me")).unwrap();
        assert_eq!(relative, (Some(home.clone()), Some(PathBuf::from("relative"))));
        assert_eq!(chosen(Some(""), Some("/home/me")).unwrap(), (Some(home.clone()), None));
        assert_eq!(chosen(None, Some("/home/me")).unwrap(), (Some(home), None));
        assert_eq!(chosen(Some("relative"), None).unwrap().0, None);
        assert_eq!(chosen(None, Some("")).unwrap().0, None);
    }

    #[test]
    fn a_relative_home_is_an_error_where_it_is_needed() {
        for variable in [None, Some("relative"), Some("")] {
            let failure = chosen(variable, Some("home/me")).unwrap_err();
            assert!(
                failure.causes()[0].contains("\"home/me\", which is not an absolute path"),
                "{:?}",
                failure.causes()
            );
        }
    }
}

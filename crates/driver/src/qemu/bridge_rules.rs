//! Whether QEMU's bridge helper will connect a machine to a bridge, as far as this user may read its rules. Must not be stricter than the
//! helper: what cannot be told is left to it.

use std::{fs, io, os::unix::fs::MetadataExt, path::Path};

use cloud_machine_protocol::InterfaceName;

/// Where Debian's helper looks, and where Debian has that helper: another one may have its rules elsewhere.
const RULES: &str = "/etc/qemu/bridge.conf";
const HELPER: &str = "/usr/lib/qemu/qemu-bridge-helper";
/// A file that is executed as its owner (S_ISUID, inode(7)).
const SETUID: u32 = 0o4000;
/// Files that include each other do not end.
const MAX_FILES: usize = 32;

/// What QEMU's bridge helper of this host can do for this user, whatever bridges there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bridges {
    /// Bridges that its rules name, or `all`.
    Allowed(Vec<String>),
    /// It will connect no machine.
    Refused {
        /// Why.
        why: String,
        /// The way out.
        way_out: String,
    },
    /// Only a start of a machine tells.
    Unknown {
        /// Why.
        why: String,
    },
}

/// Looks at the helper and its rules.
#[must_use]
pub fn bridges() -> Bridges {
    bridges_of(Path::new(HELPER), Path::new(RULES), rustix::process::geteuid().is_root())
}

fn bridges_of(helper: &Path, rules: &Path, is_root: bool) -> Bridges {
    let metadata = match fs::metadata(helper) {
        Ok(metadata) => metadata,
        Err(error) => return Bridges::Unknown { why: format!("look at {}: {error}", helper.display()) },
    };
    // A capability is an attribute of the file (capabilities(7), "File capabilities").
    let has_capability = || rustix::fs::getxattr(helper, "security.capability", &mut [0; 64]).is_ok();
    if !is_root && metadata.mode() & SETUID == 0 && !has_capability() {
        let helper = helper.display();
        let why = format!("{helper} connects no machine of a user other than root");
        return Bridges::Refused { why, way_out: format!("`chmod u+s {helper}`, as root, lets it") };
    }
    let file = rules.display();
    let text = match fs::read_to_string(rules) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Bridges::Unknown { why: format!("read {file}: {error}") },
    };
    let mut verdict = Verdict::default();
    verdict.read(&text, "all", &mut 0);
    let Verdict { named, denied, .. } = &mut verdict;
    named.retain(|name| !denied.contains(name));
    match verdict {
        Verdict { is_unclear: true, .. } => Bridges::Unknown { why: format!("{file} has lines of another kind") },
        Verdict { denies: true, .. } => Bridges::Refused {
            why: format!("a line `deny all` of {file} denies QEMU's bridge helper every bridge"),
            way_out: "remove it: it wins over each that allows".to_owned(),
        },
        Verdict { named, .. } if named.is_empty() => Bridges::Refused {
            why: format!("no line of {file} lets QEMU's bridge helper use a bridge"),
            way_out: format!("add `allow NAME` to {file} for machines on a bridge"),
        },
        Verdict { named, .. } => Bridges::Allowed(named),
    }
}

/// Why the helper will refuse a bridge, and the way out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Objection {
    pub(super) why: String,
    pub(super) way_out: String,
}

/// `None` when the helper will not refuse it, or when that cannot be told.
pub(super) fn objection(bridge: &InterfaceName) -> Option<Objection> {
    if Path::new(HELPER).exists() { objection_of(Path::new(RULES), bridge) } else { None }
}

fn objection_of(rules: &Path, bridge: &InterfaceName) -> Option<Objection> {
    let file = rules.display();
    let allow = |first: &str| format!("{first}add the line `allow {bridge}` to {file}");
    let text = match fs::read_to_string(rules) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let why = format!("QEMU's bridge helper may use no bridge: there is no {file}");
            let folder = rules.parent().unwrap_or(rules).display();
            return Some(Objection { why, way_out: allow(&format!("make the folder {folder}, and ")) });
        }
        // The helper may read more than this user.
        Err(_) => return None,
    };
    let mut verdict = Verdict::default();
    let mut files = 0;
    verdict.read(&text, bridge.as_str(), &mut files);
    if verdict.is_unclear {
        return None;
    }
    if verdict.denies {
        let why = format!("a line of {file}, or of a file that it includes, denies it to QEMU's bridge helper");
        let way_out = format!("remove the line `deny {bridge}` or `deny all`, which wins over each that allows");
        return Some(Objection { why, way_out });
    }
    let why = format!("{file} does not let QEMU's bridge helper use it");
    (!verdict.allows).then(|| Objection { why, way_out: allow("") })
}

/// What the rules that have been read say; one that denies wins over all that allow.
#[derive(Default)]
struct Verdict {
    /// Those of all lines that allow.
    named: Vec<String>,
    /// Those of all lines that deny.
    denied: Vec<String>,
    allows: bool,
    denies: bool,
    is_unclear: bool,
}

impl Verdict {
    fn read(&mut self, text: &str, bridge: &str, files: &mut usize) {
        *files += 1;
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let (word, of) = match words.as_slice() {
                [] => continue,
                [first, ..] if first.starts_with('#') => continue,
                [word, of] => (*word, *of),
                _ => {
                    self.is_unclear = true;
                    continue;
                }
            };
            let is_meant = of == "all" || of == bridge;
            match word {
                "allow" => {
                    self.allows |= is_meant;
                    self.named.push(of.to_owned());
                }
                "deny" => {
                    self.denies |= is_meant;
                    self.denied.push(of.to_owned());
                }
                "include" => match fs::read_to_string(of) {
                    Ok(text) if *files < MAX_FILES => self.read(&text, bridge, files),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    _ => self.is_unclear = true,
                },
                // The helper has an answer to a word that is none of its own.
                _ => self.is_unclear = true,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_bridge_is_refused_when_no_rule_allows_it_or_one_denies_it() {
        let folder = tempfile::tempdir().unwrap();
        let (rules, more) = (folder.path().join("bridge.conf"), folder.path().join("more.conf"));
        let tried = |text: &str| {
            fs::write(&rules, text).unwrap();
            objection_of(&rules, &"br0".parse().unwrap())
        };
        assert!(objection_of(&rules, &"br0".parse().unwrap()).unwrap().why.contains("there is no "), "absent");
        fs::write(&more, "allow br0\n").unwrap();
        let include = format!("include {}", more.display());
        for good in ["allow br0", "allow all\n", "# rules\n  allow\tbr0\nallow br1", &include] {
            assert_eq!(tried(good), None, "{good:?}");
        }
        for missing in ["", "allow br1\nallow br", "#allow br0", "include /nonexistent/rules"] {
            let Objection { why, way_out } = tried(missing).unwrap();
            assert!(why.contains("bridge.conf does not let"), "{missing:?}: {why}");
            assert!(way_out.starts_with("add the line `allow br0`"), "{missing:?}: {way_out}");
        }
        for denied in ["deny all\nallow br0", &format!("{include}\ndeny br0")] {
            let Objection { why, way_out } = tried(denied).unwrap();
            assert!(
                why.contains("denies it") && way_out.starts_with("remove the line"),
                "{denied:?}: {why}: {way_out}"
            );
        }
    }

    #[test]
    fn what_the_helper_can_do_at_all_is_told_before_there_is_a_machine() {
        let folder = tempfile::tempdir().unwrap();
        let (helper, rules) = (folder.path().join("helper"), folder.path().join("bridge.conf"));
        let by = |is_root| bridges_of(&helper, &rules, is_root);
        assert!(matches!(by(true), Bridges::Unknown { .. }), "another helper, as of another distribution");
        fs::write(&helper, "").unwrap();
        let refused = |found| match found {
            Bridges::Refused { why, way_out } => format!("{why}; {way_out}"),
            other => panic!("{other:?}"),
        };
        assert!(refused(by(false)).contains("`chmod u+s "));
        fs::set_permissions(&helper, fs::Permissions::from_mode(0o4755)).unwrap();
        assert!(refused(by(false)).contains("add `allow NAME` to "));
        fs::write(&rules, "allow br0\nallow br1\nallow br2\ndeny br1\n").unwrap();
        assert_eq!(by(false), Bridges::Allowed(vec!["br0".to_owned(), "br2".to_owned()]));
        fs::write(&rules, "deny all\nallow br0\n").unwrap();
        assert!(refused(by(true)).contains("remove it"));
        fs::write(&rules, "permit br0\n").unwrap();
        assert!(matches!(by(true), Bridges::Unknown { .. }));
    }

    #[test]
    fn what_cannot_be_told_is_left_to_the_helper() {
        let folder = tempfile::tempdir().unwrap();
        let rules = folder.path().join("bridge.conf");
        let bridge = "br0".parse().unwrap();
        fs::create_dir(&rules).unwrap();
        assert_eq!(objection_of(&rules, &bridge), None, "unreadable");
        fs::remove_dir(&rules).unwrap();
        for text in
            [format!("include {}\n", rules.display()), "permit br0\n".to_owned(), "deny br0 # not ours\n".to_owned()]
        {
            fs::write(&rules, &text).unwrap();
            assert_eq!(objection_of(&rules, &bridge), None, "{text:?}");
        }
    }
}

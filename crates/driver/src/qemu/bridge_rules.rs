//! Whether QEMU's bridge helper will connect a machine to a bridge, as far as this user may read its rules. Must not be stricter than the
//! helper: what cannot be told is left to it.

use std::{fs, io, path::Path};

use cloud_machine_protocol::InterfaceName;

/// Where Debian's helper looks, and where Debian has that helper: another one may have its rules elsewhere.
const RULES: &str = "/etc/qemu/bridge.conf";
const HELPER: &str = "/usr/lib/qemu/qemu-bridge-helper";
/// Files that include each other do not end.
const MAX_FILES: usize = 32;

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
    verdict.read(&text, bridge, &mut files);
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
    allows: bool,
    denies: bool,
    is_unclear: bool,
}

impl Verdict {
    fn read(&mut self, text: &str, bridge: &InterfaceName, files: &mut usize) {
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
            let is_meant = of == "all" || of == bridge.as_str();
            match word {
                "allow" => self.allows |= is_meant,
                "deny" => self.denies |= is_meant,
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

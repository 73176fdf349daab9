//! The other files of a NoCloud volume, which nobody reads: what is lost with them, and where to write it instead. Must
//! not take anything from them.

use crate::{LayerKind, merge, parse, source::shortened};

/// Names of the files beside `user-data`.
pub const NO_CLOUD: [&str; 3] = ["meta-data", "network-config", "vendor-data"];
/// The key that every such volume has, and that says nothing about the machine.
const INSTANCE: &str = "instance-id";
/// Most keys that a remark names.
const MAX_NAMES: usize = 8;

/// What is not read of the file `name` with `content`, and the way out; `None` when nothing is lost.
#[must_use]
pub fn unread(name: &str, content: &[u8]) -> Option<String> {
    if content.trim_ascii().is_empty() {
        return None;
    }
    match name {
        "meta-data" => meta_data(content),
        "network-config" => Some(
            "network-config is not read: write it below `network` into a document of the host, for the machine's cloud-init"
                .to_owned(),
        ),
        "vendor-data" => Some("vendor-data is not read: write what it says into user-data".to_owned()),
        other => Some(format!("{} is not read: only user-data is", shortened(other))),
    }
}

fn meta_data(content: &[u8]) -> Option<String> {
    let instead = "write `hostname` and `ssh_authorized_keys` into user-data";
    let read = parse(LayerKind::Volume, "meta-data", content).and_then(|document| merge(&[document]));
    let Ok(merged) = read else {
        return Some(format!("meta-data is not read: {instead}"));
    };
    let lost = |name: &String| name != INSTANCE;
    let entries = merged.root().entries().iter().filter(|entry| entry.value.states_something());
    let names: Vec<String> = entries.map(|entry| entry.key.text()).filter(lost).collect();
    let shown: Vec<String> = names.iter().take(MAX_NAMES).map(|name| format!("`{}`", shortened(name))).collect();
    let more = if names.len() > MAX_NAMES { " and more" } else { "" };
    let are = if names.len() == 1 { "is" } else { "are" };
    (!names.is_empty()).then(|| format!("of meta-data, {}{more} {are} not read: {instead}", shown.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_lost_is_named_with_the_place_for_it() {
        let of = |text: &str| unread("meta-data", text.as_bytes()).unwrap_or_default();
        assert_eq!(
            of("instance-id: x\nlocal-hostname: y\npublic-keys: [ssh-ed25519 AAAA]\n"),
            "of meta-data, `local-hostname`, `public-keys` are not read: write `hostname` and `ssh_authorized_keys` into user-data"
        );
        assert!(of("{\"local-hostname\": \"y\"}").starts_with("of meta-data, `local-hostname` is not read"));
        assert!(of("a: [").starts_with("meta-data is not read") && of("- a").starts_with("meta-data is not read"));
        let many: String = (0..20).map(|index| format!("k{index}: 1\n")).collect();
        assert!(of(&many).contains("`k7` and more are not read") && !of(&many).contains("k8"));
        assert!(unread("network-config", b"version: 2").unwrap().contains("below `network`"));
        assert!(unread("vendor-data", b"#cloud-config").unwrap().contains("into user-data"));
        assert!(!unread("a\u{1b}b", b"x").unwrap().contains('\u{1b}'));
    }

    #[test]
    fn what_every_such_volume_has_is_no_loss() {
        for text in ["", "\n", "instance-id: x\n", "instance-id: x\nlocal-hostname:\npublic-keys: []\n", "# nothing\n"]
        {
            assert_eq!(unread("meta-data", text.as_bytes()), None, "{text:?}");
        }
        assert_eq!(unread("vendor-data", b""), None);
    }
}

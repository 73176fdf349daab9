//! Whether what cloud-init was handed may let somebody in besides this host: by its keys, whatever document they came from. Must not
//! guess: what is not known to be harmless may.

use cloud_machine_config::{Leaf, Merged, OVERRULED, foreign_key};
use cloud_machine_protocol::ConfigEvidence;
use serde_yaml::Value;

/// Keys that name the host, its clock and its root, whatever their value: cloud-init runs no program of the document's for them, and
/// writes nothing that is executed or that logins are decided by.
const HARMLESS: [&str; 9] = [
    "fqdn",
    "hostname",
    "manage_etc_hosts",
    "network",
    "package_update",
    "prefer_fqdn_over_hostname",
    "preserve_hostname",
    "resize_rootfs",
    "timezone",
];

/// Whether a value of a key lets nobody in.
type IsHarmless = fn(&Value) -> bool;

/// Paths that some values make harmless, which takes a value that this host knows.
const HARMLESS_AS: [(&str, IsHarmless); 14] = [
    ("bootcmd", is_empty),
    ("disable_root", is_true),
    ("groups", is_empty),
    ("locale", is_plain),
    ("ntp.enabled", is_plain),
    ("ntp.pools", is_plain),
    ("ntp.servers", is_plain),
    ("packages", is_empty),
    ("runcmd", is_empty),
    ("ssh_authorized_keys", is_empty),
    ("ssh_import_id", is_empty),
    ("ssh_pwauth", is_false),
    ("users", is_no_more_than_the_images_own),
    ("write_files", is_empty),
];

/// Whether any key of `config` that is not known to be harmless was for cloud-init. `host` has the values of the host's own layers; what
/// a document says that only the machine read is not known here.
pub(crate) fn may_be_opened(config: Option<&ConfigEvidence>, host: &Merged) -> bool {
    // As the machine was handed it, with its arguments as origins tell them.
    let known = host.without_access().redacted(&|_| String::new()).leaves();
    config.is_none_or(|config| config.origins.iter().any(|(path, origin)| opens(path, origin, &known)))
}

fn opens(path: &str, origin: &str, known: &[Leaf]) -> bool {
    let Some(key) = foreign_key(path) else { return false };
    if HARMLESS.contains(&key) || OVERRULED.iter().any(|(overruled, _)| *overruled == key) {
        return false;
    }
    let Some(leaf) = known.iter().find(|leaf| leaf.path == path && leaf.origin.to_string() == origin) else {
        return true;
    };
    let harmless = HARMLESS_AS.iter().find(|(harmless, _)| *harmless == path);
    !leaf.value.is_null() && !harmless.is_some_and(|(_, is_harmless)| is_harmless(&leaf.value))
}

fn is_empty(value: &Value) -> bool {
    value.as_sequence().is_some_and(Vec::is_empty)
}

/// As cloud-init reads a boolean, also of YAML 1.1.
fn is_true(value: &Value) -> bool {
    value.as_bool() == Some(true) || value.as_str().is_some_and(|text| ["yes", "on", "true"].contains(&text))
}

fn is_false(value: &Value) -> bool {
    value.as_bool() == Some(false) || value.as_str().is_some_and(|text| ["no", "off", "false"].contains(&text))
}

/// A word or a list of words that no file and no program can take for anything else.
fn is_plain(value: &Value) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:@".contains(&byte);
    match value {
        Value::Bool(_) => true,
        Value::String(text) => text.bytes().all(plain),
        Value::Sequence(items) => items.iter().all(|item| item.is_string() && is_plain(item)),
        _ => false,
    }
}

/// What cloud-init makes without the key: the user that the image's own settings name, or none.
fn is_no_more_than_the_images_own(value: &Value) -> bool {
    value.as_sequence().is_some_and(|users| users.iter().all(|user| user.as_str() == Some("default")))
}

#[cfg(test)]
mod tests {
    use cloud_machine_config::{Document, LayerKind, defaults, merge, parse};
    use cloud_machine_protocol::Digest;

    use super::*;

    fn merged(documents: &[Document]) -> Merged {
        let all: Vec<Document> = [defaults()].into_iter().chain(documents.iter().cloned()).collect();
        merge(&all).unwrap()
    }

    fn document(layer: LayerKind, text: &str) -> Document {
        parse(layer, "f", text.as_bytes()).unwrap()
    }

    /// Of a machine that reads `more` besides the host's `text`.
    fn may(text: &str, more: Option<&str>) -> bool {
        let host = document(LayerKind::Project, text);
        let read = more.map(|more| document(LayerKind::CloudInitUrl, more));
        let all: Vec<Document> = [host.clone()].into_iter().chain(read).collect();
        let digest: Digest = format!("sha256:{}", "0".repeat(64)).parse().unwrap();
        let config = ConfigEvidence {
            volume: Some(digest),
            document: digest,
            url: None,
            drives: Vec::new(),
            origins: merged(&all).origins(),
        };
        may_be_opened(Some(&config), &merged(&[host]))
    }

    /// Every way in that cloud-init knows of, and what runs as root and may make another.
    #[test]
    fn a_key_that_makes_an_account_or_runs_a_program_may_let_others_in() {
        for text in [
            "users: [ada]",
            "users: [default, ada]",
            "users: ada",
            "users: {ada: true}",
            "users: [{name: ada, ssh_authorized_keys: [k]}]",
            "users: [default, {name: ada, ssh_import_id: ['gh:ada']}]",
            "users: [{name: ada, plain_text_passwd: x, lock_passwd: false}]",
            "users: [{name: ada, hashed_passwd: x}]",
            "users: [{name: ada, passwd: x}]",
            "user: {lock_passwd: false, passwd: x}",
            "user: ada",
            "ssh_authorized_keys: [k]",
            "ssh_import_id: [ada]",
            "password: x",
            "chpasswd: {expire: false, users: [{name: root, password: x}]}",
            "chpasswd: {list: ['root:x']}",
            "ssh_pwauth: true",
            "ssh_pwauth: yes",
            "disable_root: false",
            "runcmd: [[id]]",
            "bootcmd: [id]",
            "write_files: [{path: /root/.ssh/authorized_keys, content: k}]",
            "packages: [telnetd]",
            "snap: {commands: [id]}",
            "phone_home: {url: 'http://h/'}",
            "ntp: {config: {confpath: /root/.ssh/authorized_keys, template: k}}",
            "ntp: {servers: [\"x\\ny\"]}",
            "locale: \"$(id)\"",
            "\"hostname.x\": 1",
            "a_key_that_is_not_known: 1",
        ] {
            assert!(may(text, None), "{text}");
        }
    }

    #[test]
    fn a_key_that_is_known_to_be_harmless_lets_nobody_in() {
        for text in [
            "cloud-machine: {image: x}",
            "hostname: web\nfqdn: web.example\nmanage_etc_hosts: true\ntimezone: UTC",
            "users: [default]\nssh_pwauth: no\ndisable_root: true\nssh_authorized_keys: []",
            "users: []\nruncmd: []\nchpasswd:\n",
            "growpart: {mode: auto}\nssh_deletekeys: true\nssh_keys: {rsa_private: x}",
            "locale: de_DE.UTF-8\nntp: {enabled: true, servers: [ntp.example], pools: []}",
        ] {
            assert!(!may(text, None), "{text}");
        }
    }

    #[test]
    fn what_only_the_machine_read_is_harmless_by_its_key_or_not_at_all() {
        assert!(!may("timezone: UTC", Some("hostname: web")));
        for more in ["ssh_pwauth: false", "users: [default]", "users: [ada]", "locale: C.UTF-8"] {
            assert!(may("ssh_pwauth: false\nusers: [default]\nlocale: C.UTF-8", Some(more)), "{more}");
        }
    }

    #[test]
    fn nobody_vouches_for_a_machine_that_did_not_say_what_it_read() {
        assert!(may_be_opened(None, &merged(&[])));
    }
}

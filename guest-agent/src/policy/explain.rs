//! A policy in plain sentences, and as JSON. Must not decide anything at a boot.

use cloud_machine_config::{Accept, CloudInitUrl, Policy, WipePolicy, WithoutConfiguration};
use serde_json::{Value, json};

use super::needs::{Needed, modules};
use crate::inventory::table::Columns;

/// What is said of a situation.
type Sentence = (&'static str, String);

/// All sentences, aligned.
pub(super) fn table(policy: &Policy, path: &str, found: bool, needed: &[Needed]) -> String {
    let mut columns = Columns::new(&["AT A BOOT", "WHAT HAPPENS"]);
    for (about, text) in sentences(policy, path, found, needed) {
        columns.row([about, &text]);
    }
    columns.text()
}

/// The policy with all its defaults, in its own form, what it needs, and all sentences. Addresses are without their query.
pub(super) fn json(policy: &Policy, path: &str, found: bool, needed: &[Needed]) -> Value {
    let programs = needed.iter().map(|one| json!({"path": one.path, "makes": one.makes, "present": one.present}));
    let sentences = sentences(policy, path, found, needed);
    let sentences = sentences.into_iter().map(|(about, text)| json!({"about": about, "text": text}));
    json!({
        "file": path,
        "found": found,
        "policy": stated(policy),
        "programs": programs.collect::<Value>(),
        "modules": modules(policy),
        "sentences": sentences.collect::<Value>(),
    })
}

fn stated(policy: &Policy) -> Value {
    let accept = policy.volume.accept.iter().map(|accept| match accept {
        Accept::Pinned => "pinned",
        Accept::ReadOnly => "read-only",
    });
    let address = |url: &CloudInitUrl| {
        let sha256 = url.sha256.as_ref().map(|digest| digest.hex());
        json!({"url": url.redacted(), "sha256": sha256, "ca": url.ca})
    };
    let wipe = match &policy.wipe {
        WipePolicy::Declared => "declared".into(),
        WipePolicy::None => "none".into(),
        WipePolicy::Only(selectors) => selectors.iter().map(ToString::to_string).collect::<Value>(),
    };
    json!({
        "volume": {
            "required": policy.volume.required,
            "wait": policy.volume.wait.as_secs(),
            "accept": accept.collect::<Value>(),
        },
        "address": {
            "allowed": policy.address.allowed.as_slice(),
            "default": policy.address.default.as_ref().map(address),
        },
        "wipe": wipe,
        "filesystems": policy.filesystems.iter().map(|kind| kind.name()).collect::<Value>(),
        "without-configuration": match policy.without_configuration {
            WithoutConfiguration::Boot => "boot",
            WithoutConfiguration::Stop => "stop",
        },
    })
}

fn sentences(policy: &Policy, path: &str, found: bool, needed: &[Needed]) -> Vec<Sentence> {
    let source =
        if found { format!("{path} holds") } else { format!("{path} is not there, so the default policy holds") };
    let mut all = vec![("policy", source), ("wait", wait(policy)), ("no volume", without_volume(policy))];
    all.extend(volumes(policy));
    all.extend(addresses(policy));
    all.push(("wipe", wipe(policy)));
    all.extend(filesystems(policy, needed));
    all
}

fn wait(policy: &Policy) -> String {
    match policy.volume.wait.as_secs() {
        0 => "no volume is waited for when all devices that are there have settled".to_owned(),
        wait => format!("a volume is waited for at most {wait} s after all devices that are there have settled"),
    }
}

fn without_volume(policy: &Policy) -> String {
    match (&policy.address.default, policy.without_configuration) {
        _ if policy.volume.required => "the boot stops, since `volume.required` is true".to_owned(),
        (Some(url), _) => format!("the configuration at {} is applied", url.redacted()),
        (None, WithoutConfiguration::Boot) => "the boot goes on, and no disk is changed".to_owned(),
        (None, WithoutConfiguration::Stop) => "the boot stops, since `without-configuration` is stop".to_owned(),
    }
}

fn volumes(policy: &Policy) -> Vec<Sentence> {
    let reasons: Vec<&str> = policy.volume.accept.iter().map(reason).collect();
    if reasons.is_empty() {
        return vec![("a volume", "none counts, whatever its label: each is passed over with the reason".to_owned())];
    }
    vec![
        (
            "a volume that counts",
            format!("its configuration is applied; it is labelled CLOUD-INIT, and {}", reasons.join(" or ")),
        ),
        ("another one", "it is passed over with the reason, as if it were not there".to_owned()),
        ("two that count", "the boot stops, and no disk is changed".to_owned()),
    ]
}

const fn reason(accept: &Accept) -> &'static str {
    match accept {
        Accept::Pinned => "SMBIOS or fw_cfg state its SHA-256",
        Accept::ReadOnly => "is a whole device that cannot be written",
    }
}

fn addresses(policy: &Policy) -> Vec<Sentence> {
    let address = &policy.address;
    let allowed = match address.allowed.as_slice() {
        [] => "none is read: a configuration with `cloud-init-url` stops the boot".to_owned(),
        allowed => {
            // A redirect is the server's word, which the allowed address is trusted for.
            format!(
                "`cloud-init-url` may begin with {}, and any other stops the boot; redirects of the server are followed, but none from \
                 https to http",
                allowed.join(" or ")
            )
        }
    };
    let default = address.default.as_ref();
    let default = default.map(|url| ("address of no document", format!("{} is read", url.redacted())));
    [("address", allowed)].into_iter().chain(default).collect()
}

fn wipe(policy: &Policy) -> String {
    const ROOT: &str = "never the one that the root is on";
    match &policy.wipe {
        WipePolicy::Declared => format!("a disk that the configuration declares may lose what it holds, {ROOT}"),
        WipePolicy::None => "no disk may lose what it holds".to_owned(),
        WipePolicy::Only(selectors) => {
            let names: Vec<String> = selectors.iter().map(ToString::to_string).collect();
            let names = names.join(", ");
            format!("a disk that the configuration declares may lose what it holds if it is one of {names}, {ROOT}")
        }
    }
}

fn filesystems(policy: &Policy, needed: &[Needed]) -> Vec<Sentence> {
    let names: Vec<&str> = policy.filesystems.iter().map(|kind| kind.name()).collect();
    let made = match names.as_slice() {
        [] => "none may be made".to_owned(),
        names => format!("{} may be made", names.join(", ")),
    };
    let absent = needed.iter().filter(|needed| !needed.present);
    let absent = absent.map(|needed| {
        let Needed { path, makes, .. } = needed;
        ("not in this system", format!("{path}: without it {makes} cannot be made here"))
    });
    [("filesystems", made)].into_iter().chain(absent).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> Policy {
        Policy::parse("agent.yaml", text.as_bytes()).unwrap()
    }

    fn ext4(present: bool) -> Needed {
        Needed { path: "/usr/sbin/mkfs.ext4", makes: "ext4", present }
    }

    #[test]
    fn the_default_policy_says_that_it_changes_nothing_of_itself() {
        let expected = "\
AT A BOOT             WHAT HAPPENS
policy                /etc/p is not there, so the default policy holds
wait                  no volume is waited for when all devices that are there have settled
no volume             the boot goes on, and no disk is changed
a volume that counts  its configuration is applied; it is labelled CLOUD-INIT, and SMBIOS or fw_cfg state its SHA-256 or is a whole device that cannot be written
another one           it is passed over with the reason, as if it were not there
two that count        the boot stops, and no disk is changed
address               `cloud-init-url` may begin with https://, and any other stops the boot; redirects of the server are followed, but none from https to http
wipe                  a disk that the configuration declares may lose what it holds, never the one that the root is on
filesystems           ext4 may be made
";
        assert_eq!(table(&Policy::default(), "/etc/p", false, &[ext4(true)]), expected);
    }

    #[test]
    fn every_key_changes_a_sentence() {
        let default = sentences(&Policy::default(), "p", true, &[]);
        for (text, about, expected) in [
            ("", "policy", "p holds"),
            (
                "volume: {wait: 5}",
                "wait",
                "a volume is waited for at most 5 s after all devices that are there have settled",
            ),
            ("volume: {required: true}", "no volume", "the boot stops, since `volume.required` is true"),
            (
                "volume: {required: true}\naddress: {default: 'https://h/x'}",
                "no volume",
                "the boot stops, since `volume.required` is true",
            ),
            ("address: {default: 'https://h/x?token=1'}", "no volume", "the configuration at https://h/x is applied"),
            ("address: {default: 'https://h/x?token=1'}", "address of no document", "https://h/x is read"),
            ("without-configuration: stop", "no volume", "the boot stops, since `without-configuration` is stop"),
            (
                "volume: {accept: []}",
                "a volume",
                "none counts, whatever its label: each is passed over with the reason",
            ),
            ("address: {allowed: []}", "address", "none is read: a configuration with `cloud-init-url` stops the boot"),
            ("wipe: none", "wipe", "no disk may lose what it holds"),
            (
                "wipe: [serial:a, /dev/vdb]",
                "wipe",
                "a disk that the configuration declares may lose what it holds if it is one of serial:a, /dev/vdb, never the one that the root is on",
            ),
            ("filesystems: []", "filesystems", "none may be made"),
            ("filesystems: [zfs, xfs]", "filesystems", "xfs, zfs may be made"),
        ] {
            let found = sentences(&policy(text), "p", true, &[]);
            let sentence = (about, expected.to_owned());
            assert!(found.contains(&sentence), "{text}: {found:#?}");
            assert_eq!(default.contains(&sentence), text.is_empty(), "{text}");
        }
    }

    #[test]
    fn a_program_that_is_not_there_is_told() {
        let text = table(&Policy::default(), "p", true, &[ext4(false)]);
        let last = "not in this system    /usr/sbin/mkfs.ext4: without it ext4 cannot be made here\n";
        assert!(text.ends_with(last), "{text}");
    }

    #[test]
    fn the_policy_in_json_is_one_that_means_the_same() {
        let digest = "ab".repeat(32);
        let all = format!(
            "volume: {{required: true, wait: 7, accept: [pinned]}}\n\
             address: {{allowed: ['http://h/'], default: {{url: 'http://h/x', sha256: '{digest}'}}}}\n\
             wipe: [serial:a]\nfilesystems: [zfs]\nwithout-configuration: stop\n"
        );
        for text in ["", "wipe: none", &all] {
            let policy = policy(text);
            let value = json(&policy, "p", true, &[ext4(true)]);
            let again = value["policy"].to_string();
            assert_eq!(Policy::parse("again", again.as_bytes()).unwrap(), policy, "{again}");
            assert_eq!(value["programs"][0], json!({"path": "/usr/sbin/mkfs.ext4", "makes": "ext4", "present": true}));
            assert_eq!(value["sentences"][0], json!({"about": "policy", "text": "p holds"}));
        }
    }
}

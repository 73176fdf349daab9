//! A policy in plain sentences. Must not decide anything at a boot.

use cloud_machine_config::{Accept, Policy, WipePolicy, WithoutConfiguration};
use serde::Serialize;

use super::needs::{Needed, modules};
use crate::inventory::table::Columns;

/// What a policy leads to.
#[derive(Serialize)]
pub(super) struct Explained<'a> {
    file: &'a str,
    found: bool,
    sentences: Vec<Sentence>,
    programs: Vec<Needed>,
    modules: Vec<&'static str>,
}

/// What is said of a situation.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Sentence {
    about: &'static str,
    text: String,
}

impl<'a> Explained<'a> {
    /// What `policy` leads to, which is that of `file` if that was found, in a system with these `programs`.
    pub(super) fn new(policy: &Policy, file: &'a str, found: bool, programs: Vec<Needed>) -> Self {
        let mut sentences = Vec::new();
        let mut say = |about, text: String| sentences.push(Sentence { about, text });
        say(
            "policy",
            if found { format!("{file} holds") } else { format!("{file} is not there, so the default policy holds") },
        );
        say("wait", wait(policy));
        say("no volume", without_volume(policy));
        volumes(policy, &mut say);
        addresses(policy, &mut say);
        say("wipe", wipe(policy));
        say("filesystems", filesystems(policy));
        say("self-reimage", recovery(policy));
        for Needed { path, does, .. } in programs.iter().filter(|program| !program.present) {
            say("not in this system", format!("{path}, which is needed for {does}"));
        }
        Self { file, found, sentences, programs, modules: modules(policy) }
    }

    /// All sentences, aligned.
    pub(super) fn table(&self) -> String {
        let mut columns = Columns::new(&["AT A BOOT", "WHAT HAPPENS"]);
        self.sentences.iter().for_each(|sentence| columns.row([sentence.about, &sentence.text]));
        columns.text()
    }
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

fn volumes(policy: &Policy, say: &mut dyn FnMut(&'static str, String)) {
    let accept = &policy.volume.accept;
    let pinned = "with a SHA-256 in SMBIOS or fw_cfg only a volume that has it counts";
    let signed = accept.contains(&Accept::Signed).then(|| match policy.volume.keys.len() {
        1 => "one that the key of the policy has signed".to_owned(),
        keys => format!("one that one of {keys} keys of the policy has signed"),
    });
    let read_only = accept.contains(&Accept::ReadOnly).then(|| "a whole device that cannot be written".to_owned());
    let others = signed.into_iter().chain(read_only).collect::<Vec<_>>().join(", and ");
    let counts = match (accept.contains(&Accept::Pinned), others.is_empty()) {
        (false, true) => return say("a volume", "none counts, whatever its label: each is passed over".to_owned()),
        (true, true) => format!("{pinned}, and without it none does"),
        (true, false) => format!("{pinned}, and without it {others}"),
        (false, false) => format!("{others} counts"),
    };
    say("a volume", format!("one labelled CLOUD-INIT is looked at: {counts}; its configuration is applied"));
    say("another volume", "it is passed over with the reason, as if it were not there".to_owned());
    say("two that count", "the boot stops, and no disk is changed".to_owned());
}

fn addresses(policy: &Policy, say: &mut dyn FnMut(&'static str, String)) {
    let allowed = policy.address.allowed.join(" or ");
    let text = if allowed.is_empty() {
        "none is read: a configuration with `cloud-init-url` stops the boot".to_owned()
    } else {
        // A redirect is the word of a server that is trusted with the configuration.
        format!(
            "`cloud-init-url` begins with {allowed}, or stops the boot; redirects are followed, but none from https to http"
        )
    };
    say("address", text);
    if let Some(url) = &policy.address.default {
        say("address of no document", format!("{} is read", url.redacted()));
    }
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

fn filesystems(policy: &Policy) -> String {
    let names: Vec<&str> = policy.filesystems.iter().map(|kind| kind.name()).collect();
    if names.is_empty() { "none may be made".to_owned() } else { format!("{} may be made", names.join(", ")) }
}

fn recovery(policy: &Policy) -> String {
    match policy.recovery {
        Some(size) => format!(
            "a recovery partition of {size} is made where the end of the system disk is free, and a request that is staged there resets \
             the machine and reimages it"
        ),
        None => "no request counts, since `recovery` has no size".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(text: &str) -> Policy {
        Policy::parse("agent.yaml", text.as_bytes()).unwrap()
    }

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJdD7y3aLq454yWBdwLWbieU1ebz9/cu7/QEXn9OIeZJ";

    fn ext4(present: bool) -> Vec<Needed> {
        vec![Needed { path: "/usr/sbin/mkfs.ext4", does: "ext4", present }]
    }

    #[test]
    fn the_default_policy_says_that_it_changes_nothing_of_itself() {
        let expected = "\
AT A BOOT       WHAT HAPPENS
policy          /etc/p is not there, so the default policy holds
wait            no volume is waited for when all devices that are there have settled
no volume       the boot goes on, and no disk is changed
a volume        one labelled CLOUD-INIT is looked at: with a SHA-256 in SMBIOS or fw_cfg only a volume that has it counts, and without it a whole device that cannot be written; its configuration is applied
another volume  it is passed over with the reason, as if it were not there
two that count  the boot stops, and no disk is changed
address         `cloud-init-url` begins with https://, or stops the boot; redirects are followed, but none from https to http
wipe            a disk that the configuration declares may lose what it holds, never the one that the root is on
filesystems     ext4 may be made
self-reimage    no request counts, since `recovery` has no size
";
        assert_eq!(Explained::new(&Policy::default(), "/etc/p", false, ext4(true)).table(), expected);
    }

    #[test]
    fn every_key_changes_a_sentence() {
        let said = |policy| Explained::new(&policy, "p", true, Vec::new()).sentences;
        let default = said(Policy::default());
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
            ("volume: {accept: []}", "a volume", "none counts, whatever its label: each is passed over"),
            (
                "volume: {accept: [pinned]}",
                "a volume",
                "one labelled CLOUD-INIT is looked at: with a SHA-256 in SMBIOS or fw_cfg only a volume that has it counts, and without it none does; its configuration is applied",
            ),
            (
                "volume: {accept: [read-only]}",
                "a volume",
                "one labelled CLOUD-INIT is looked at: a whole device that cannot be written counts; its configuration is applied",
            ),
            (
                &format!("volume: {{accept: [signed], keys: [{KEY}]}}"),
                "a volume",
                "one labelled CLOUD-INIT is looked at: one that the key of the policy has signed counts; its configuration is applied",
            ),
            (
                &format!("volume: {{accept: [pinned, signed, read-only], keys: [{KEY}, {KEY} b]}}"),
                "a volume",
                "one labelled CLOUD-INIT is looked at: with a SHA-256 in SMBIOS or fw_cfg only a volume that has it counts, and without it one that one of 2 keys of the policy has signed, and a whole device that cannot be written; its configuration is applied",
            ),
            ("address: {allowed: []}", "address", "none is read: a configuration with `cloud-init-url` stops the boot"),
            ("wipe: none", "wipe", "no disk may lose what it holds"),
            (
                "wipe: [serial:a, /dev/vdb]",
                "wipe",
                "a disk that the configuration declares may lose what it holds if it is one of serial:a, /dev/vdb, never the one that the root is on",
            ),
            (
                "recovery: 1024MiB",
                "self-reimage",
                "a recovery partition of 1GiB is made where the end of the system disk is free, and a request that is staged there resets the machine and reimages it",
            ),
            ("filesystems: []", "filesystems", "none may be made"),
            ("filesystems: [zfs, xfs]", "filesystems", "xfs, zfs may be made"),
        ] {
            let found = said(policy(text));
            let sentence = Sentence { about, text: expected.to_owned() };
            assert!(found.contains(&sentence), "{text}: {found:#?}");
            assert_eq!(default.contains(&sentence), text.is_empty(), "{text}");
        }
    }

    #[test]
    fn a_program_that_is_not_there_is_told() {
        let text = Explained::new(&Policy::default(), "p", true, ext4(false)).table();
        let last = "not in this system  /usr/sbin/mkfs.ext4, which is needed for ext4\n";
        assert!(text.ends_with(last), "{text}");
    }
}

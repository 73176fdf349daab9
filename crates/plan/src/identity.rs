//! What a machine was given of its identity, item by item, against what the host handed over. Must not accept an item that
//! the host did not hand over.

use cloud_machine_protocol::{Action, IdentityItem, NicName, Report, SecretPolicy};

use crate::{expected::Expected, hostkey::is_usable, rejection::Rejection};

/// Name of the item with the SSH host key.
pub const HOST_KEY: &str = "ssh-host-key-ed25519";
const AUTHORIZED_KEYS: &str = "authorized-keys";

/// What was checked, for people.
const CHECKED: &str = "identity: name, uuid, machine-id, hostid, MAC, keys to log in with, and ";
const CHECKED_MORE: &str = "identity: name, uuid, machine-id, hostid, MAC, the host's own key to log in with, and ";
const MORE: &str = "; further keys to log in with come from documents of the machine's own";
/// Of a key that was rotated, and of one that was kept.
const NEW_KEY: &str = "a new SSH host key";
const KEPT_KEY: &str = "the SSH host key that the host keeps, which is no new one";

/// What an attempt that handed over a kept key proves nothing about.
const NOT_FRESH: &str = "the SSH host key is kept: each job since the machine was made could copy it, and whoever did can answer in \
                         this machine's place";

/// What is known of a machine's identity.
pub(crate) struct Given {
    /// What was checked, for people.
    pub(crate) checked: String,
    /// What that leaves open, for people.
    pub(crate) not_covered: Option<&'static str>,
}

/// Gives what was checked; `None` for a boot, which hands nothing over. `more`: whether the machine merged documents of
/// its own, which may bring keys to log in with, and may ask for a new host key where the host keeps one.
///
/// # Errors
/// The first item that is not what was handed over.
pub(crate) fn identity(expected: &Expected, report: &Report, more: bool) -> Result<Option<Given>, Rejection> {
    let wanted = match expected.request.action {
        Action::Boot => Vec::new(),
        Action::Reimage => kept(expected),
    };
    for item in &report.identity {
        let known = wanted.iter().any(|(name, _)| *name == item.name);
        let secret = item.name == HOST_KEY || item.name == AUTHORIZED_KEYS;
        if !known && (!secret || wanted.is_empty()) {
            return Err(Rejection::IdentityUnexpected { name: item.name.clone() });
        }
    }
    if wanted.is_empty() {
        return Ok(None);
    }
    for (name, value) in wanted {
        same(&name, &value, &item(report, &name, SecretPolicy::Keep)?.public)?;
    }
    authorized_keys(expected, &item(report, AUTHORIZED_KEYS, SecretPolicy::Keep)?.public, more)?;
    let kept = host_key(expected, report, more)? == SecretPolicy::Keep;
    let (checked, end) = if more { (CHECKED_MORE, MORE) } else { (CHECKED, "") };
    let key = if kept { KEPT_KEY } else { NEW_KEY };
    Ok(Some(Given { checked: format!("{checked}{key}{end}"), not_covered: kept.then_some(NOT_FRESH) }))
}

/// What stays the same for as long as the machine lives.
fn kept(expected: &Expected) -> Vec<(String, String)> {
    let identity = &expected.identity;
    let item = |name: &str, value: String| (name.to_owned(), value);
    let mut items = vec![
        item("hostname", identity.name.to_string()),
        item("machine-id", identity.machine_id.to_string()),
        item("hostid", format!("{:08x}", identity.machine_id.hostid())),
        item("machine-uuid", identity.machine_uuid.clone()),
        item("mac", identity.mac.to_string()),
    ];
    items.extend(identity.nics.iter().map(|(name, mac)| (nic_item(name), mac.to_string())));
    items
}

/// Name of the item with the hardware address of the further interface `name`.
#[must_use]
pub fn nic_item(name: &NicName) -> String {
    format!("mac-{name}")
}

fn same(name: &str, expected: &str, found: &str) -> Result<(), Rejection> {
    if found == expected {
        return Ok(());
    }
    let (name, expected, found) = (name.to_owned(), expected.to_owned(), found.to_owned());
    Err(Rejection::IdentityDiffers { name, expected, found })
}

/// Documents of the machine's own may bring keys; they cannot take away the host's, nor put others before them.
fn authorized_keys(expected: &Expected, found: &str, more: bool) -> Result<(), Rejection> {
    if !more {
        return same(AUTHORIZED_KEYS, &expected.authorized_keys.join("\n"), found);
    }
    let own = expected.authorized_keys.get(..expected.own_keys).unwrap_or_default();
    let first: Vec<&str> = found.split('\n').take(own.len()).collect();
    same(AUTHORIZED_KEYS, &own.join("\n"), &first.join("\n"))
}

/// Gives what became of the host key. Only a document that the machine read for itself may turn `keep` into `rotate`.
fn host_key(expected: &Expected, report: &Report, more: bool) -> Result<SecretPolicy, Rejection> {
    let policy = match &expected.kept_host_key {
        Some(_) if !(more && has_policy(report, SecretPolicy::Rotate)) => SecretPolicy::Keep,
        _ => SecretPolicy::Rotate,
    };
    let key = &item(report, HOST_KEY, policy)?.public;
    if !is_usable(key, expected.identity.name.as_str()) {
        return Err(Rejection::HostKey);
    }
    if let (Some(kept), SecretPolicy::Keep) = (&expected.kept_host_key, policy) {
        return same(HOST_KEY, kept, key).map(|()| policy);
    }
    // The comment is no part of the key.
    let words = |line: &str| line.split(' ').take(2).map(str::to_owned).collect::<Vec<_>>();
    let mut known = expected.last_host_key.iter().chain(&expected.kept_host_key);
    if known.any(|known| words(known) == words(key)) { Err(Rejection::HostKeyKept) } else { Ok(policy) }
}

fn has_policy(report: &Report, policy: SecretPolicy) -> bool {
    report.identity.iter().any(|item| item.name == HOST_KEY && item.policy == policy)
}

/// The only item with this name, which must have this policy.
fn item<'report>(
    report: &'report Report,
    name: &str,
    policy: SecretPolicy,
) -> Result<&'report IdentityItem, Rejection> {
    let mut found = report.identity.iter().filter(|item| item.name == name);
    match (found.next(), found.next()) {
        (Some(item), None) if item.policy == policy => Ok(item),
        (Some(item), None) => {
            Err(Rejection::IdentityPolicy { name: name.to_owned(), expected: policy, found: item.policy })
        }
        (None, _) => Err(Rejection::IdentityAbsent { name: name.to_owned() }),
        _ => Err(Rejection::IdentityTwice { name: name.to_owned() }),
    }
}

//! What a machine was given of its identity, item by item, against what the host handed over. Must not accept an item that
//! the host did not hand over.

use cloud_machine_protocol::{Action, IdentityItem, Report, SecretPolicy};

use crate::{expected::Expected, hostkey::is_usable, rejection::Rejection};

/// Name of the item with the SSH host key.
pub const HOST_KEY: &str = "ssh-host-key-ed25519";
const AUTHORIZED_KEYS: &str = "authorized-keys";

/// What was checked, for people.
const CHECKED: &str = "identity: name, uuid, machine-id, hostid, MAC, keys to log in with, and a new SSH host key";
const CHECKED_MORE: &str = "identity: name, uuid, machine-id, hostid, MAC, the host's own key to log in with, and a new SSH host \
                            key; further keys to log in with come from documents of the machine's own";

/// Gives what was checked; `None` for a boot, which hands nothing over. `more`: whether the machine merged documents of
/// its own, which may bring keys to log in with.
///
/// # Errors
/// The first item that is not what was handed over.
pub(crate) fn identity(expected: &Expected, report: &Report, more: bool) -> Result<Option<&'static str>, Rejection> {
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
        same(name, &value, &item(report, name, SecretPolicy::Keep)?.public)?;
    }
    authorized_keys(expected, &item(report, AUTHORIZED_KEYS, SecretPolicy::Keep)?.public, more)?;
    host_key(expected, &item(report, HOST_KEY, SecretPolicy::Rotate)?.public)?;
    Ok(Some(if more { CHECKED_MORE } else { CHECKED }))
}

/// What stays the same for as long as the machine lives.
fn kept(expected: &Expected) -> Vec<(&'static str, String)> {
    let identity = &expected.identity;
    vec![
        ("hostname", identity.name.to_string()),
        ("machine-id", identity.machine_id.to_string()),
        ("hostid", format!("{:08x}", identity.machine_id.hostid())),
        ("machine-uuid", identity.machine_uuid.clone()),
        ("mac", identity.mac.to_string()),
    ]
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

fn host_key(expected: &Expected, key: &str) -> Result<(), Rejection> {
    if !is_usable(key, expected.identity.name.as_str()) {
        return Err(Rejection::HostKey);
    }
    // The comment is no part of the key.
    let words = |line: &str| line.split(' ').take(2).map(str::to_owned).collect::<Vec<_>>();
    match &expected.last_host_key {
        Some(last) if words(last) == words(key) => Err(Rejection::HostKeyKept),
        _ => Ok(()),
    }
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

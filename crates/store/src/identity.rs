//! What a new machine, request or attempt is told apart by, made from the system's randomness. Must not read an
//! old identity from anywhere.

use std::collections::BTreeMap;

use cloud_machine_protocol::{Identity, MacAddress, MachineId, MachineName, NicName, Nonce, SecretPolicy};
use ulid::Ulid;
use uuid::Uuid;

/// Random bytes that [`from_random`] needs: 16 of the UUID, 16 of the machine id, 3 of the hardware address.
pub const RANDOM_BYTES: usize = 35;

/// The system gave no random bytes.
#[derive(Debug, thiserror::Error)]
#[error("cannot get {count} random bytes")]
pub struct RandomError {
    count: usize,
    #[source]
    source: getrandom::Error,
}

/// A new identity. `mac` and those of `nics` are the configured addresses; without one it is random too.
///
/// # Errors
/// [`RandomError`].
pub fn new(
    name: MachineName,
    mac: Option<MacAddress>,
    nics: BTreeMap<NicName, Option<MacAddress>>,
    authorized_keys: Vec<String>,
    ssh_host_keys: SecretPolicy,
) -> Result<Identity, RandomError> {
    let mut identity = from_random(random()?, name, mac, authorized_keys, ssh_host_keys);
    // What is configured first, so that no random one is the same.
    identity.nics = nics.iter().filter_map(|(name, mac)| Some((name.clone(), (*mac)?))).collect();
    if mac.is_none() {
        identity.mac = unused(&identity)?;
    }
    for name in nics.into_keys() {
        if !identity.nics.contains_key(&name) {
            let address = unused(&identity)?;
            identity.nics.insert(name, address);
        }
    }
    Ok(identity)
}

/// An address that no interface of the machine has.
fn unused(identity: &Identity) -> Result<MacAddress, RandomError> {
    loop {
        let address = MacAddress::from_random(random()?);
        if address != identity.mac && !identity.nics.values().any(|known| *known == address) {
            return Ok(address);
        }
    }
}

/// The identity that the given random bytes make.
#[must_use]
pub fn from_random(
    random: [u8; RANDOM_BYTES],
    name: MachineName,
    mac: Option<MacAddress>,
    authorized_keys: Vec<String>,
    ssh_host_keys: SecretPolicy,
) -> Identity {
    let (mut uuid, mut machine_id, mut address) = ([0; 16], [0; 16], [0; 3]);
    let places = uuid.iter_mut().chain(&mut machine_id).chain(&mut address);
    places.zip(random).for_each(|(place, byte)| *place = byte);
    Identity {
        name,
        machine_uuid: uuid::Builder::from_random_bytes(uuid).into_uuid().to_string(),
        machine_id: MachineId::from_random(machine_id),
        mac: mac.unwrap_or_else(|| MacAddress::from_random(address)),
        nics: BTreeMap::new(),
        authorized_keys,
        ssh_host_keys,
    }
}

/// A nonce for one attempt. To be made only after the machine's previous process has ended.
///
/// # Errors
/// [`RandomError`].
pub fn nonce() -> Result<Nonce, RandomError> {
    random().map(Nonce::from_random)
}

/// The id of a new request: a ULID, 26 characters, sorted by time.
///
/// # Errors
/// [`RandomError`].
pub fn request_id(now: jiff::Timestamp) -> Result<String, RandomError> {
    let milliseconds = u64::try_from(now.as_millisecond()).unwrap_or(0);
    Ok(Ulid::from_parts(milliseconds, u128::from_be_bytes(random()?)).to_string())
}

/// The serial number of a new certificate.
///
/// # Errors
/// [`RandomError`].
pub fn serial() -> Result<u64, RandomError> {
    random().map(u64::from_be_bytes)
}

/// Whether `text` is a UUID in its usual form, as QEMU and SMBIOS take it.
#[must_use]
pub fn is_uuid(text: &str) -> bool {
    text.len() == 36 && Uuid::try_parse(text).is_ok()
}

/// Bytes of the system's secure source.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], RandomError> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|source| RandomError { count: N, source })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_bytes_make_the_same_identity_and_every_byte_is_used() {
        let mut random = [0; RANDOM_BYTES];
        random.iter_mut().zip(1..).for_each(|(place, value)| *place = value);
        let make = |random| from_random(random, "demo".parse().unwrap(), None, vec![], SecretPolicy::Rotate);
        let identity = make(random);
        assert_eq!(identity, make(random));
        assert_eq!(identity.machine_uuid, "01020304-0506-4708-890a-0b0c0d0e0f10");
        assert_eq!(identity.machine_id.to_string(), "11121314151647189".to_owned() + "91a1b1c1d1e1f20");
        assert_eq!(identity.mac.to_string(), "52:54:00:21:22:23");
    }

    #[test]
    fn a_configured_address_is_kept_and_two_identities_differ() {
        let mac: MacAddress = "52:54:00:aa:bb:cc".parse().unwrap();
        let fixed: MacAddress = "52:54:00:aa:bb:cd".parse().unwrap();
        let nics = [("a", None), ("b", Some(fixed)), ("c", None)].map(|(name, mac)| (name.parse().unwrap(), mac));
        let make = || {
            new("demo".parse().unwrap(), Some(mac), BTreeMap::from(nics.clone()), vec![], SecretPolicy::Rotate).unwrap()
        };
        let (one, two) = (make(), make());
        assert_eq!(one.mac, mac);
        let macs: Vec<MacAddress> = one.nics.values().copied().collect();
        assert!(macs.len() == 3 && macs[1] == fixed && macs[0] != macs[2], "{macs:?}");
        assert_ne!(one.nics, two.nics);
        assert_ne!(one.machine_uuid, two.machine_uuid);
        assert_ne!(one.machine_id, two.machine_id);
        assert!(is_uuid(&one.machine_uuid));
        assert_ne!(nonce().unwrap(), nonce().unwrap());
    }

    #[test]
    fn request_ids_sort_by_time() {
        let early = request_id("2026-01-01T00:00:00Z".parse().unwrap()).unwrap();
        let late = request_id("2026-01-01T00:00:01Z".parse().unwrap()).unwrap();
        assert!(early < late && early.len() == 26, "{early} {late}");
    }
}

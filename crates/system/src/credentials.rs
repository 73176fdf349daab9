//! What the hypervisor or the firmware tells a machine, in places that no program of the machine can write: credentials in the form
//! of systemd (systemd.system-credentials(7)). Must not give them a meaning.

use std::{fs, io::ErrorKind, path::Path};

use cloud_machine_protocol::escaped;

use crate::{SystemError, attributes::names};

/// Files of QEMU's firmware configuration device (Documentation/ABI/stable/sysfs-firmware-qemu_fw_cfg).
const FW_CFG: &str = "/sys/firmware/qemu_fw_cfg/by_name/opt/io.systemd.credentials";
/// Structures of SMBIOS (Documentation/ABI/testing/sysfs-firmware-dmi-entries); those of type 11 hold texts of the maker, here of the
/// hypervisor.
const SMBIOS: &str = "/sys/firmware/dmi/entries";
const TEXTS: &str = "11-";
const PREFIX: &str = "io.systemd.credential:";
/// Longest file that is read: more than any credential here has.
const MAX_SIZE: u64 = 64 << 10;

/// The credential `name` of QEMU's firmware configuration device; `None` when it has none, or there is no such device.
///
/// # Errors
/// [`SystemError::Io`] when it is there and cannot be read, [`SystemError::Unexpected`] when it is no text.
pub fn fw_cfg(name: &str) -> Result<Option<String>, SystemError> {
    fw_cfg_in(Path::new(FW_CFG), name)
}

/// The credential `name` among the texts of SMBIOS; `None` when no text says it.
///
/// # Errors
/// As [`fw_cfg`], and for two texts that say different things.
pub fn smbios(name: &str) -> Result<Option<String>, SystemError> {
    smbios_in(Path::new(SMBIOS), name)
}

fn fw_cfg_in(folder: &Path, name: &str) -> Result<Option<String>, SystemError> {
    let path = folder.join(name).join("raw");
    read(&path)?.map(|bytes| text(&path, &bytes)).transpose()
}

fn smbios_in(folder: &Path, name: &str) -> Result<Option<String>, SystemError> {
    let mut found: Option<String> = None;
    if !folder.is_dir() {
        return Ok(None);
    }
    for entry in names(folder)?.iter().filter(|entry| entry.starts_with(TEXTS)) {
        let path = folder.join(entry).join("raw");
        for bytes in read(&path)?.as_deref().map(texts).unwrap_or_default() {
            let Some(value) = bytes.strip_prefix(PREFIX.as_bytes()).and_then(|rest| rest.strip_prefix(name.as_bytes()))
            else {
                continue;
            };
            let Some(value) = value.strip_prefix(b"=") else { continue };
            let value = text(&path, value)?;
            if found.as_ref().is_some_and(|first| *first != value) {
                let object = format!("the credential {name} of SMBIOS");
                return Err(SystemError::unexpected(object, &escaped(&value), "the same text as another structure"));
            }
            found = Some(value);
        }
    }
    Ok(found)
}

/// The texts behind the fields of a structure (System Management BIOS Reference Specification, 6.1.3): the second byte says how long
/// the fields are, and each text ends with a zero.
fn texts(structure: &[u8]) -> Vec<&[u8]> {
    let behind = structure.get(1).and_then(|fields| structure.get(usize::from(*fields)..)).unwrap_or_default();
    behind.split(|byte| *byte == 0).take_while(|text| !text.is_empty()).collect()
}

fn read(path: &Path) -> Result<Option<Vec<u8>>, SystemError> {
    let object = || path.display().to_string();
    match fs::File::open(path) {
        Ok(file) => {
            let mut bytes = Vec::new();
            std::io::Read::read_to_end(&mut std::io::Read::take(file, MAX_SIZE), &mut bytes)
                .map_err(SystemError::io("read", object()))?;
            Ok(Some(bytes))
        }
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(SystemError::io("open", object())(error)),
    }
}

fn text(path: &Path, bytes: &[u8]) -> Result<String, SystemError> {
    let text = std::str::from_utf8(bytes).map(|text| text.trim_matches(['\0', '\n', ' ']).to_owned());
    text.map_err(|_| SystemError::unexpected(path.display().to_string(), "other bytes", "a text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn structure(texts: &[&str]) -> Vec<u8> {
        // Type 11, five bytes of fields: handle and the number of texts.
        let mut bytes = vec![11, 5, 0, 14, u8::try_from(texts.len()).unwrap()];
        texts.iter().for_each(|text| bytes.extend([text.as_bytes(), b"\0"].concat()));
        bytes.push(0);
        bytes
    }

    fn entries(all: &[(&str, Vec<u8>)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in all {
            fs::create_dir(folder.path().join(name)).unwrap();
            fs::write(folder.path().join(name).join("raw"), bytes).unwrap();
        }
        folder
    }

    #[test]
    fn a_credential_is_found_among_the_texts_of_its_type_alone() {
        let (mine, other) = ("io.systemd.credential:a.pin=sha256:01", "io.systemd.credential:a.pinned=2");
        let folder = entries(&[("11-0", structure(&["x", other, mine])), ("1-0", structure(&["a.pin=9"]))]);
        assert_eq!(smbios_in(folder.path(), "a.pin").unwrap().as_deref(), Some("sha256:01"));
        assert_eq!(smbios_in(folder.path(), "b").unwrap(), None);
        assert_eq!(smbios_in(&folder.path().join("none"), "a.pin").unwrap(), None);
        let wrong_type = entries(&[("1-0", structure(&[mine]))]);
        assert_eq!(smbios_in(wrong_type.path(), "a.pin").unwrap(), None);
    }

    #[test]
    fn structures_that_contradict_each_other_and_bytes_that_are_no_text_are_refused() {
        let (one, two) = ("io.systemd.credential:p=1", "io.systemd.credential:p=2");
        let folder = entries(&[("11-0", structure(&[one])), ("11-1", structure(&[two]))]);
        assert!(smbios_in(folder.path(), "p").is_err());
        assert!(smbios_in(entries(&[("11-0", structure(&[one, one]))]).path(), "p").is_ok());
        let folder = entries(&[("p", vec![0xff, 0xfe])]);
        assert!(fw_cfg_in(folder.path(), "p").is_err());
    }

    #[test]
    fn a_file_of_the_firmware_device_ends_where_it_ends() {
        let folder = entries(&[("p", b"sha256:02\n\0".to_vec())]);
        assert_eq!(fw_cfg_in(folder.path(), "p").unwrap().as_deref(), Some("sha256:02"));
        assert_eq!(fw_cfg_in(folder.path(), "q").unwrap(), None);
        // A structure that is cut off.
        assert!(texts(&[11]).is_empty() && texts(&[11, 200, 0]).is_empty() && texts(&[]).is_empty());
    }
}

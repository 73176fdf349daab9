//! A disk behind a cipher whose key nobody has: made at random in this boot, given to the kernel and forgotten. Must not
//! put the key anywhere else, be it an argument, a file or an error.

mod ioctl;
mod message;

use std::{
    fs::{File, OpenOptions},
    io,
    path::Path,
};

use zeroize::Zeroizing;

use crate::{
    SystemError,
    attributes::{SYSFS, SYSFS_SECTOR, attribute, number},
    root::{self, RootFile},
};
use ioctl::{Command, send};
use message::{Key, Table, bare, create, load};

/// The device mapper's own node, which devtmpfs makes when its module is loaded.
const CONTROL: &str = "/dev/mapper/control";

/// Checks that the device mapper is there, so that nothing is begun that cannot be finished.
///
/// # Errors
/// [`SystemError::Io`] when its node cannot be opened or it does not answer.
pub fn check_mapper() -> Result<(), SystemError> {
    send(&control()?, Command::Version, &mut bare("", 0)).map_err(SystemError::io("ask", CONTROL))
}

/// Makes `/dev/<mapped>`, named as the kernel names a mapping (`dm-0`): all of `/dev/<device>` behind `cipher`, in the words of
/// dm-crypt, with a new key of `key_bits` bits. It lasts until the machine is switched off.
///
/// # Errors
/// [`SystemError`] when the name is taken, the kernel lacks the cipher, somebody uses the disk, or the mapping is not as
/// large as the disk.
pub fn encrypt(device: &str, mapped: &str, cipher: &str, key_bits: u32) -> Result<(), SystemError> {
    let minor = mapped.strip_prefix("dm-").and_then(|minor| minor.parse::<u8>().ok());
    let minor = minor.ok_or_else(|| SystemError::unexpected("name of a mapping", mapped, "dm- and a number"))?;
    let disk = Path::new(SYSFS).join(device);
    let sectors = number(&disk, "size")?;
    let below = attribute(&disk, "dev")?.unwrap_or_default();
    let name = format!("cloud-machine-{mapped}");
    let control = control()?;
    let failed = |verb| SystemError::io(verb, format!("the mapping {mapped}"));
    send(&control, Command::Create, &mut create(&name, minor)).map_err(failed("make"))?;
    let mapping = || -> Result<(), SystemError> {
        let mut bytes = Zeroizing::new(vec![0; key_bits as usize / 8]);
        getrandom::fill(&mut bytes).map_err(|error| failed("make a key for")(io::Error::other(error)))?;
        let key = Key::of(&bytes);
        let table = Table { sectors, cipher, key: &key, device: &below };
        send(&control, Command::Load, &mut load(&name, &table)).map_err(failed("load"))?;
        send(&control, Command::Suspend, &mut bare(&name, 0)).map_err(failed("start"))?;
        check(mapped, sectors)?;
        tell_udev(mapped)
    };
    mapping().inspect_err(|_| {
        // What is half made is of no use; that it could not be removed either tells nothing more.
        send(&control, Command::Remove, &mut bare(&name, 0)).unwrap_or_default();
    })
}

fn control() -> Result<File, SystemError> {
    OpenOptions::new().read(true).write(true).open(CONTROL).map_err(SystemError::io("open", CONTROL))
}

fn check(mapped: &str, sectors: u64) -> Result<(), SystemError> {
    let folder = Path::new(SYSFS).join(mapped);
    let found = number(&folder, "size")?;
    if found == sectors {
        return Ok(());
    }
    let bytes = found.saturating_mul(SYSFS_SECTOR).to_string();
    Err(SystemError::unexpected(format!("size of {mapped}"), &bytes, "that of its disk"))
}

/// The booted system's rules for mappings take one that was there before udev for half made, and its mount would wait for ever
/// (55-dm.rules of dmsetup: without this property in udev's database, `dm_disable`). An initramfs with udev hands its database
/// over for the same reason.
fn tell_udev(mapped: &str) -> Result<(), SystemError> {
    let number = attribute(&Path::new(SYSFS).join(mapped), "dev")?.unwrap_or_default();
    let content = b"E:DM_UDEV_PRIMARY_SOURCE_FLAG=1\n".to_vec();
    root::write_run(&RootFile { path: format!("/run/udev/data/b{number}"), content, mode: 0o644 })
}

//! The hostile job: what it plants as root, and how each item is looked for afterwards, from inside the machine or
//! in the bytes of its disks. Plants only in the machine that it is given.

use std::{
    fs::File,
    io::{self, Read},
    path::Path,
    process::Command,
};

/// Where an item can be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// A shell test in the machine.
    Inside(&'static str),
    /// A text in the bytes of a disk file.
    OnDisk {
        /// Name of the disk.
        disk: &'static str,
        /// The text.
        needle: &'static str,
    },
}

/// One thing that the job plants.
#[derive(Clone, Copy, Debug)]
pub struct Planted {
    /// What it is, for people.
    pub name: &'static str,
    /// Shell commands that plant it.
    plant: &'static str,
    /// How it is seen.
    pub seen: Seen,
}

/// All of them. `VDA` is the system disk and `VDB` the data disk of the machine.
pub const PLANTED: [Planted; 15] = [
    Planted {
        name: "user with password in /etc/shadow",
        plant: "echo 'evil:x:0:0::/root:/bin/sh' >> /etc/passwd; echo 'evil:$6$x$y:19000:0:99999:7:::' >> /etc/shadow",
        seen: Seen::Inside("grep -q ^evil: /etc/shadow"),
    },
    Planted {
        name: "suid root shell",
        plant: "cp /bin/sh /usr/local/bin/evil; chmod 4755 /usr/local/bin/evil",
        seen: Seen::Inside("test -u /usr/local/bin/evil"),
    },
    Planted {
        name: "enabled systemd unit",
        plant: "printf '[Service]\\nExecStart=/usr/local/bin/evil\\n[Install]\\nWantedBy=multi-user.target\\n' > /etc/systemd/system/evil.service; systemctl --quiet enable evil.service",
        seen: Seen::Inside("test -e /etc/systemd/system/evil.service"),
    },
    Planted {
        name: "kernel module load file",
        plant: "echo dummy > /etc/modules-load.d/evil.conf",
        seen: Seen::Inside("test -e /etc/modules-load.d/evil.conf"),
    },
    Planted {
        name: "changed kernel on the boot partition",
        plant: "for f in /boot/vmlinuz-*; do printf CM-EVIL-KERNEL | dd of=$f bs=1 seek=4096 conv=notrunc status=none; done",
        seen: Seen::Inside("grep -q CM-EVIL-KERNEL /boot/vmlinuz-*"),
    },
    Planted {
        name: "initrds on the boot partition, changed and new",
        plant: "for f in $(ls /boot/initrd.img-*) /boot/initrd.img-evil; do touch $f; printf CM-EVIL-INITRD | dd of=$f bs=1 seek=4096 conv=notrunc status=none; done",
        seen: Seen::Inside("grep -q CM-EVIL-INITRD /boot/initrd.img-*"),
    },
    Planted {
        name: "bytes in free space of the root filesystem",
        plant: "yes CM-EVIL-FREE-SPACE | dd of=/evil-space bs=1M count=24 iflag=fullblock conv=fsync status=none; rm /evil-space",
        seen: Seen::OnDisk { disk: "system", needle: "CM-EVIL-FREE-SPACE" },
    },
    Planted {
        name: "bytes in the gap before the first partition",
        plant: "printf CM-EVIL-GAP-BEFORE | dd of=/dev/vda bs=512 seek=100 conv=notrunc,fsync status=none",
        seen: Seen::OnDisk { disk: "system", needle: "CM-EVIL-GAP-BEFORE" },
    },
    Planted {
        name: "bytes in the gap after the last partition",
        plant: "printf CM-EVIL-GAP-AFTER | dd of=/dev/vda bs=512 seek=$(($(blockdev --getsz /dev/vda) - 512)) conv=notrunc,fsync status=none",
        seen: Seen::OnDisk { disk: "system", needle: "CM-EVIL-GAP-AFTER" },
    },
    Planted {
        name: "filled data disk",
        plant: "yes CM-EVIL-DATA-DISK | dd of=/dev/vdb bs=1M iflag=fullblock count=$(($(blockdev --getsize64 /dev/vdb) >> 20)) conv=fsync status=none",
        seen: Seen::OnDisk { disk: "scratch", needle: "CM-EVIL-DATA-DISK" },
    },
    Planted {
        name: "vfat labelled CLOUD-INIT on the data disk",
        plant: "base64 -d /tmp/cloud-init.b64 | dd of=/dev/vdb bs=1M conv=notrunc,fsync status=none",
        seen: Seen::OnDisk { disk: "scratch", needle: "CLOUD-INIT " },
    },
    Planted {
        name: "vfat labelled cidata at the end of the data disk",
        plant: "base64 -d /tmp/cidata.b64 | dd of=/dev/vdb bs=1M seek=$((($(blockdev --getsize64 /dev/vdb) >> 20) - 2)) conv=notrunc,fsync status=none",
        seen: Seen::OnDisk { disk: "scratch", needle: "cidata     " },
    },
    Planted {
        name: "changed machine-id and host name",
        plant: "echo 0123456789abcdef0123456789abcdef > /etc/machine-id; echo evil-host > /etc/hostname; hostname evil-host",
        seen: Seen::Inside("grep -q evil-host /etc/hostname || grep -q 0123456789abcdef /etc/machine-id"),
    },
    Planted {
        name: "clock of the system in 2099",
        plant: "date -s 2099-01-01 >/dev/null",
        seen: Seen::Inside("test $(date +%Y) -eq 2099"),
    },
    Planted {
        name: "clock of the hardware in 2099",
        plant: "hwclock --systohc --utc",
        seen: Seen::Inside("grep -q ^2099 /sys/class/rtc/rtc0/date"),
    },
];

/// A configuration that would add a user and point to another image, if anybody believed it.
const EVIL_CONFIG: &str =
    "#cloud-config\nusers: [{name: evil, sudo: ALL}]\ncloud-machine: {image: http://127.0.0.1/evil.img}\n";

/// The whole job as a shell script for `sh -s` in the machine.
///
/// # Errors
/// A text when the planted volumes cannot be made.
pub fn script() -> Result<String, String> {
    of(&PLANTED)
}

/// The same on a machine with one disk: what is planted on the data disk is left out.
///
/// # Errors
/// As [`script`].
pub fn script_on_one_disk() -> Result<String, String> {
    let items: Vec<Planted> = PLANTED.into_iter().filter(|planted| !planted.plant.contains("/dev/vdb")).collect();
    of(&items)
}

fn of(items: &[Planted]) -> Result<String, String> {
    let mut script = "set -eu\nexport PATH=/usr/sbin:/usr/bin:/sbin:/bin\n".to_owned();
    for (label, file) in [("CLOUD-INIT", "cloud-init"), ("cidata", "cidata")] {
        script.push_str(&format!("cat > /tmp/{file}.b64 <<'END'\n{}END\n", vfat(label)?));
    }
    for planted in items {
        script.push_str(planted.plant);
        script.push('\n');
    }
    script.push_str("sync\n");
    Ok(script)
}

/// A shell script that prints, for each item that is seen inside, one line `INDEX present` or `INDEX gone`.
#[must_use]
pub fn checks() -> String {
    let mut script = "export PATH=/usr/sbin:/usr/bin:/sbin:/bin\n".to_owned();
    for (index, planted) in PLANTED.iter().enumerate() {
        if let Seen::Inside(test) = planted.seen {
            script.push_str(&format!("if {test}; then echo {index} present; else echo {index} gone; fi\n"));
        }
    }
    script
}

/// A small vfat with NoCloud's files, in base64, made by Debian's own tools.
fn vfat(label: &str) -> Result<String, String> {
    let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
    let image = folder.path().join("volume");
    let user_data = folder.path().join("user-data");
    std::fs::write(&user_data, EVIL_CONFIG).map_err(|error| error.to_string())?;
    std::fs::write(folder.path().join("meta-data"), "instance-id: evil\n").map_err(|error| error.to_string())?;
    run(Command::new("mkfs.vfat").args(["-n", label, "-C"]).arg(&image).arg("512"))?;
    run(Command::new("mcopy").arg("-i").arg(&image).arg(&user_data).arg(folder.path().join("meta-data")).arg("::"))?;
    run(Command::new("base64").arg(&image))
}

fn run(command: &mut Command) -> Result<String, String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)))
    }
}

/// Whether `needle` occurs anywhere in the bytes of a file.
///
/// # Errors
/// The I/O error of the file.
pub fn contains(file: &Path, needle: &str) -> io::Result<bool> {
    let needle = needle.as_bytes();
    let mut file = File::open(file)?;
    let mut buffer = vec![0; 4 << 20];
    let mut kept = 0;
    loop {
        let count = file.read(&mut buffer[kept..])?;
        if count == 0 {
            return Ok(false);
        }
        let filled = kept + count;
        if find(&buffer[..filled], needle) {
            return Ok(true);
        }
        // The needle may lie across two reads.
        kept = filled.min(needle.len() - 1);
        buffer.copy_within(filled - kept..filled, 0);
    }
}

fn find(hay: &[u8], needle: &[u8]) -> bool {
    let Some(first) = needle.first() else { return true };
    let mut from = 0;
    while let Some(at) = hay[from..].iter().position(|byte| byte == first) {
        if hay[from + at..].starts_with(needle) {
            return true;
        }
        from += at + 1;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_needle_is_found_across_reads_and_only_when_it_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk");
        let mut bytes = vec![b'C'; (4 << 20) - 3];
        bytes.extend_from_slice(b"CM-EVIL");
        std::fs::write(&path, &bytes).unwrap();
        assert!(contains(&path, "CM-EVIL").unwrap());
        assert!(!contains(&path, "CM-GOOD").unwrap());
    }
}

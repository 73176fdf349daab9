//! The few ioctls of block devices (linux/fs.h) that no crate wraps. The only unsafe code of this crate; must not
//! choose devices or ranges.
#![expect(unsafe_code, reason = "ioctl(2) has no safe form; each wrapper passes only owned values")]

use std::{fs::File, io, os::fd::AsRawFd};

mod raw {
    use nix::libc;

    nix::ioctl_read_bad!(blkroget, nix::request_code_none!(0x12, 94), libc::c_int);
    nix::ioctl_write_ptr_bad!(blkroset, nix::request_code_none!(0x12, 93), libc::c_int);
    nix::ioctl_none!(blkrrpart, 0x12, 95);
    nix::ioctl_read_bad!(blksszget, nix::request_code_none!(0x12, 104), libc::c_int);
    nix::ioctl_read!(blkgetsize64, 0x12, 114, libc::size_t);
    nix::ioctl_write_ptr_bad!(blkdiscard, nix::request_code_none!(0x12, 119), [u64; 2]);
    nix::ioctl_write_ptr_bad!(blkzeroout, nix::request_code_none!(0x12, 127), [u64; 2]);
}

/// Bytes of a block device (BLKGETSIZE64).
///
/// # Errors
/// The kernel's, for example on a file that is no block device.
pub fn size(device: &File) -> io::Result<u64> {
    let mut bytes = 0;
    // SAFETY: the descriptor is open for the whole call and `bytes` outlives it.
    unsafe { raw::blkgetsize64(device.as_raw_fd(), &raw mut bytes) }?;
    Ok(bytes as u64)
}

/// Bytes of a logical sector (BLKSSZGET).
///
/// # Errors
/// The kernel's, for example on a file that is no block device.
pub fn sector_size(device: &File) -> io::Result<u64> {
    let mut bytes = 0;
    // SAFETY: as above.
    unsafe { raw::blksszget(device.as_raw_fd(), &raw mut bytes) }?;
    u64::try_from(bytes).map_err(io::Error::other)
}

/// Whether the kernel refuses writes (BLKROGET).
///
/// # Errors
/// The kernel's, for example on a file that is no block device.
pub fn is_read_only(device: &File) -> io::Result<bool> {
    let mut flag = 0;
    // SAFETY: as above.
    unsafe { raw::blkroget(device.as_raw_fd(), &raw mut flag) }?;
    Ok(flag != 0)
}

/// Makes the kernel refuse writes from now on (BLKROSET); whoever may ask for it may also take it back.
///
/// # Errors
/// The kernel's, for example on a file that is no block device.
pub fn set_read_only(device: &File) -> io::Result<()> {
    let flag = 1;
    // SAFETY: the kernel only reads one int from `flag`, which outlives the call.
    unsafe { raw::blkroset(device.as_raw_fd(), &raw const flag) }?;
    Ok(())
}

/// Makes a range read as zero (BLKZEROOUT). The kernel writes zeros itself where the device has no command for it.
///
/// # Errors
/// The kernel's; any part of the range may be zero then.
pub fn zero_out(device: &File, offset: u64, length: u64) -> io::Result<()> {
    let range = [offset, length];
    // SAFETY: the kernel only reads two u64 from `range`, which outlives the call.
    unsafe { raw::blkzeroout(device.as_raw_fd(), &raw const range) }?;
    Ok(())
}

/// Tells the device that a range is no longer needed (BLKDISCARD). What it reads as afterwards is not said.
///
/// # Errors
/// The kernel's, for example on a device that cannot.
pub fn discard(device: &File, offset: u64, length: u64) -> io::Result<()> {
    let range = [offset, length];
    // SAFETY: the kernel only reads two u64 from `range`, which outlives the call.
    unsafe { raw::blkdiscard(device.as_raw_fd(), &raw const range) }?;
    Ok(())
}

/// Makes the kernel read the partition table again (BLKRRPART).
///
/// # Errors
/// The kernel's, for example when a partition is in use.
pub fn reread_partition_table(device: &File) -> io::Result<()> {
    // SAFETY: the call takes no pointer.
    unsafe { raw::blkrrpart(device.as_raw_fd()) }?;
    Ok(())
}

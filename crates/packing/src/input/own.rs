//! A copy of a disk image that may be written, and its way back to a file with a name. Until that last step nothing has a name, and so
//! nothing is left when the program ends; must not write to the image itself.

use std::{
    fs::{File, Metadata},
    io::{self, Seek},
    os::unix::fs::{FileExt, MetadataExt, fchown},
    path::Path,
};

use cloud_machine_image::ReadBlocks;
use rustix::{
    fs::{AtFlags, CWD, ioctl_ficlone, linkat},
    io::Errno,
};

use super::{Format, Input, InputError, Phase, RawImage, foreign, head, qcow2, temporary::temporary};

/// Bytes that are copied at once; a whole piece of zeros becomes a hole.
const PIECE: u64 = 1 << 20;

impl Input<'_> {
    /// A raw copy of the raw or qcow2 image in the ordinary file `path`, and the image's own form.
    ///
    /// # Errors
    /// An [`InputError`]; [`InputError::Foreign`] for an image that is compressed, and so would have to be compressed again.
    pub fn copy(&self, path: &Path) -> Result<(RawImage, Format), InputError> {
        let name = path.display().to_string();
        let open = |source| InputError::Open { name: name.clone(), source };
        let mut file = File::open(path).map_err(open)?;
        let metadata = file.metadata().map_err(open)?;
        if metadata.is_dir() {
            return Err(InputError::Folder { name });
        }
        if !metadata.is_file() {
            return Err(InputError::Foreign {
                name,
                what: "a device or a pipe, and no file".to_owned(),
                way_out: "copy it to a file".to_owned(),
            });
        }
        let head = head(&mut file, &name)?;
        file.rewind().map_err(open)?;
        match self.format_of(&head, &name)? {
            Format::Raw if metadata.len() > self.max_size => Err(InputError::TooLarge { name, max: self.max_size }),
            Format::Raw => {
                let image = RawImage::of(file, name)?;
                if self.format != Some(Format::Raw) {
                    foreign::refuse(&image, Format::Raw)?;
                }
                Ok((self.copy_raw(&image)?, Format::Raw))
            }
            Format::Qcow2 => Ok((qcow2::convert(self, &file, &name)?, Format::Qcow2)),
            other => Err(InputError::Foreign {
                name,
                what: format!("a raw image, compressed by {}", other.name()),
                way_out: "decompress it first".to_owned(),
            }),
        }
    }

    fn copy_raw(&self, image: &RawImage) -> Result<RawImage, InputError> {
        let copy = temporary(self.folder)?;
        // Only some filesystems share blocks between files.
        if ioctl_ficlone(&copy, &image.file).is_err() {
            copy.set_len(image.size).map_err(|source| InputError::Write {
                name: image.name.clone(),
                written: 0,
                source,
            })?;
            self.copy_pieces(image, &copy)?;
        }
        image.unchanged()?;
        RawImage::of(copy, image.name.clone())
    }

    fn copy_pieces(&self, image: &RawImage, copy: &File) -> Result<(), InputError> {
        let total = image.data_bytes();
        let (mut at, mut done) = (image.next_data(0), 0);
        let mut buffer = vec![0; PIECE as usize];
        while at < image.size {
            let count = PIECE.min(image.size - at);
            let piece = buffer.get_mut(..count as usize).unwrap_or_default();
            image.read_at(piece, at).map_err(|source| InputError::Read { name: image.name.clone(), source })?;
            if piece.iter().any(|byte| *byte != 0) {
                let written = |source| InputError::Write { name: image.name.clone(), written: done, source };
                copy.write_all_at(piece, at).map_err(written)?;
            }
            done += count;
            (self.progress)(Phase::Copy, done.min(total), total);
            at = image.next_data(at + count);
        }
        Ok(())
    }

    /// Puts the raw image in `raw` at `path` in the form `format`, durable and in one step. `path` is on the filesystem of the
    /// temporary files; the new file has the owner and permissions of `like`, as far as the caller may give them.
    ///
    /// # Errors
    /// An [`InputError`]; what was at `path` is there still.
    pub fn put(&self, raw: RawImage, format: Format, path: &Path, like: &Metadata) -> Result<(), InputError> {
        let name = path.display().to_string();
        let written = |source| InputError::Put { name: name.clone(), source };
        let file = match format {
            Format::Qcow2 => {
                let new = temporary(self.folder)?;
                let options = ["-S", "64k", "-f", "raw", "-O", "qcow2"];
                qcow2::run(self, &options, &raw.file, &new, (Phase::ConvertBack, raw.size))?;
                new
            }
            _ => raw.file,
        };
        match fchown(&file, Some(like.uid()), Some(like.gid())) {
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(written(error)),
            _ => {}
        }
        file.set_permissions(like.permissions()).and_then(|()| file.sync_all()).map_err(written)?;
        let mut beside = path.file_name().unwrap_or_default().to_owned();
        beside.push(format!(".baked-{}", std::process::id()));
        let beside = path.with_file_name(beside);
        match linkat(CWD, qcow2::path(&file), CWD, &beside, AtFlags::SYMLINK_FOLLOW) {
            Ok(()) => {}
            // The file system has no files without a name, so the file had one until it was made.
            Err(Errno::NOENT) => {
                let mut named = File::create_new(&beside).map_err(written)?;
                (&file).rewind().map_err(written)?;
                io::copy(&mut &file, &mut named).and_then(|_| named.sync_all()).map_err(written)?;
                named.set_permissions(like.permissions()).map_err(written)?;
            }
            Err(error) => return Err(written(error.into())),
        }
        let put = std::fs::rename(&beside, path).map_err(written);
        if put.is_err() {
            // The reason is the other one.
            let _ = std::fs::remove_file(&beside);
        }
        put?;
        File::open(self.folder).and_then(|folder| folder.sync_all()).map_err(written)
    }
}

impl RawImage {
    /// A path by which a program that is run finds the file, which has no name, for as long as this program has it open.
    #[must_use]
    pub fn path(&self) -> String {
        qcow2::path(&self.file)
    }

    /// The same image, once somebody else has written to its file.
    ///
    /// # Errors
    /// [`InputError::Read`].
    pub fn again(&self) -> Result<Self, InputError> {
        let file = self.file.try_clone();
        Self::of(file.map_err(|source| InputError::Read { name: self.name.clone(), source })?, self.name.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt, process::Command};

    use super::*;

    fn input(folder: &Path) -> Input<'_> {
        Input { folder, format: None, max_size: 1 << 30, qemu_img: Path::new("qemu-img"), progress: &|_, _, _| {} }
    }

    /// A disk with a boot sector, so that it is one, and something behind a hole.
    fn disk(path: &Path) -> Vec<u8> {
        let mut bytes = vec![0; 5 << 20];
        bytes[510..512].copy_from_slice(&[0x55, 0xaa]);
        bytes[4 << 20] = 7;
        fs::write(path, &bytes).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o640)).unwrap();
        bytes
    }

    #[test]
    fn a_copy_is_written_and_put_in_place_in_the_form_of_the_image() {
        let folder = tempfile::tempdir().unwrap();
        let (raw, qcow2) = (folder.path().join("disk.raw"), folder.path().join("disk.qcow2"));
        let mut bytes = disk(&raw);
        let convert = |from: &Path, to: &Path, form: &str| {
            let status = Command::new("qemu-img").args(["convert", "-O", form]).args([from, to]).status().unwrap();
            assert!(status.success());
        };
        convert(&raw, &qcow2, "qcow2");
        let input = input(folder.path());
        bytes[1 << 20] = 9;
        for (path, format) in [(&raw, Format::Raw), (&qcow2, Format::Qcow2)] {
            let before = fs::read(path).unwrap();
            let (copy, found) = input.copy(path).unwrap();
            assert_eq!(found, format);
            fs::OpenOptions::new().write(true).open(copy.path()).unwrap().write_all_at(&[9], 1 << 20).unwrap();
            assert_eq!(fs::read(path).unwrap(), before, "the image itself is left alone");
            let like = fs::metadata(&raw).unwrap();
            input.put(copy.again().unwrap(), format, path, &like).unwrap();
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o640);
        }
        assert!(fs::read(&raw).unwrap() == bytes);
        let back = folder.path().join("back");
        convert(&qcow2, &back, "raw");
        assert!(fs::read(&back).unwrap() == bytes);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3, "nothing else is left");
    }

    #[test]
    fn what_is_no_file_or_compressed_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let input = input(folder.path());
        assert!(matches!(input.copy(folder.path()), Err(InputError::Folder { .. })));
        assert!(matches!(input.copy(Path::new("/dev/null")), Err(InputError::Foreign { .. })));
        let zstd = folder.path().join("disk.zst");
        fs::write(&zstd, [0x28, 0xb5, 0x2f, 0xfd, 0, 0]).unwrap();
        let error = input.copy(&zstd).unwrap_err().to_string();
        assert!(error.ends_with("is a raw image, compressed by zstd"), "{error}");
        assert!(matches!(input.copy(&folder.path().join("none")), Err(InputError::Open { .. })));
    }
}

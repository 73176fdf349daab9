//! Where a packed image is read from: the store, a file, or an address whose server serves ranges. Owns which of them a
//! text means, and whether it may be believed; must not do anything with the image.

use std::{
    io,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use cloud_machine_fetch::{FetchError, Names, RangeLimits, Ranges, shown};
use cloud_machine_image::{Manifest, ReadBlocks, read_manifest_unless};
use cloud_machine_operation::{
    ErrorKind, Hint, Operation, OperationError, Task, Teller, causes,
    installed::{open_blocks, unreadable},
};
use cloud_machine_protocol::{Algorithm, Digest, ImageUrl, ParseError};
use cloud_machine_store::{Captured, ImageFacts, ImageFolder, ImageName, StoreError, read_named};

use crate::{
    arguments::{Global, ImageAddress, ImageSource},
    failure::{Failure, Kind},
    screen::Screen,
    ui::Ui,
};

/// An open image.
pub(crate) struct Packed {
    /// What was given, an address without what gives access.
    pub(crate) shown: String,
    /// Its file, when it is one of this host.
    pub(crate) path: Option<PathBuf>,
    /// The packed file.
    pub(crate) blocks: Box<dyn ReadBlocks>,
    /// Its own manifest; of the digest that was asked for, if one was.
    pub(crate) manifest: Manifest,
    /// What is known of its system, when it is one of the store.
    pub(crate) facts: Option<ImageFacts>,
    /// From which machine's disk it was packed, when it is one of the store.
    pub(crate) captured: Option<Captured>,
}

/// Opens an image to look at it. Its zeros are hashed, unless it is one of the store, of which that is known.
pub(crate) fn open(ui: &Ui, global: &Global, source: &ImageSource) -> Result<Packed, Failure> {
    check_digest(source.digest)?;
    let (path, installed, shown, blocks): (_, _, _, Box<dyn ReadBlocks>) = if is_address(&source.image) {
        (None, None, shown(&source.image), Box::new(open_address(&source.image, source.ca.as_deref())?))
    } else if source.ca.is_some() {
        return Err(Failure::new(Kind::Usage, "--ca is for an image behind an https address"));
    } else {
        let (path, installed) = packed_file(global, &source.image)?;
        let blocks = Box::new(open_blocks(&path)?);
        (Some(path), installed, source.image.clone(), blocks)
    };
    let proved = installed.as_ref().and_then(ImageFolder::proved_manifest);
    let manifest = manifest(ui, &*blocks, proved, &shown)?;
    match source.digest {
        Some(expected) if expected != manifest.digest() => {
            let text = format!("the image {shown} has digest {}, expected {expected}", manifest.digest());
            Err(Failure::new(Kind::Verification, text))
        }
        _ => {
            let boot = installed.map(|image| image.boot);
            let (facts, captured) = boot.map(|boot| (boot.facts, boot.captured)).unwrap_or_default();
            Ok(Packed { shown, path, blocks, manifest, facts, captured })
        }
    }
}

/// Reads the manifest of an image that is called `shown`.
pub(crate) fn manifest(
    ui: &Ui,
    blocks: &dyn ReadBlocks,
    proved: Option<Digest>,
    shown: &str,
) -> Result<Manifest, Failure> {
    // Of fewer zeros than this it takes less than a second.
    const SHOWN: u64 = 4 << 30;
    let (screen, working) = (Screen::new(ui), OnceLock::new());
    let teller = Teller::of_none(&screen, Operation::Image);
    let told = |done, total| {
        if total >= SHOWN {
            working.get_or_init(|| teller.begin(Task::HashZeros(shown.to_owned()))).progress(done, total);
        }
    };
    Ok(read_manifest_unless(blocks, proved, &told)
        .map_err(|error| unreadable(error, format!("read the image {shown}")))?)
}

/// Opens an image that will be written to a disk. Every frame is compared with the manifest before it is written; over
/// http anybody on the way could change both, unless the digest is known from elsewhere.
pub(crate) fn open_to_write(ui: &Ui, global: &Global, source: &ImageSource) -> Result<Packed, Failure> {
    if scheme(&source.image).is_some_and(|scheme| scheme.eq_ignore_ascii_case("http")) && source.digest.is_none() {
        let text = format!("{} is not encrypted, and nothing else says which image is meant", shown(&source.image));
        return Err(
            Failure::new(Kind::Usage, text).hint("give the image's digest with --digest blake3:…, or an https address")
        );
    }
    open(ui, global, source)
}

/// The address of `--image-url`, checked as far as that is possible without asking its server: only the machine does.
pub(crate) fn address(given: &ImageAddress) -> Result<Option<ImageUrl>, Failure> {
    let Some(url) = &given.image_url else { return Ok(None) };
    let ca = given.image_ca.as_deref().map(read_ca).transpose()?;
    let usage = |error| Failure::during(Kind::Usage, "read --image-url")(error);
    cloud_machine_fetch::check(url, ca.as_deref()).map_err(usage)?;
    Ok(Some(ImageUrl { url: url.parse().map_err(Failure::failed)?, ca }))
}

fn check_digest(digest: Option<Digest>) -> Result<(), Failure> {
    match digest {
        Some(digest) if digest.algorithm() != Algorithm::Blake3 => {
            Err(Failure::new(Kind::Usage, format!("{digest} is no digest of an image"))
                .hint("an image has the blake3 digest that `image inspect` and b3sum print"))
        }
        _ => Ok(()),
    }
}

/// What stands before `://`.
fn scheme(image: &str) -> Option<&str> {
    image.split_once("://").map(|(scheme, _)| scheme)
}

/// A path never has `://` at that place, unless somebody wants it to be mistaken.
fn is_address(image: &str) -> bool {
    let letters = |scheme: &str| !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric());
    scheme(image).is_some_and(letters)
}

fn open_address(url: &str, ca: Option<&Path>) -> Result<Ranges<'static>, Failure> {
    let ca = ca.map(read_ca).transpose()?;
    Ranges::open(url, ca.as_deref(), RangeLimits::default(), &Names::System, &|error, wait| {
        tracing::warn!("{}; again in {:.1} s", causes(error), wait.as_secs_f64());
    })
    .map_err(|error| {
        let missing = matches!(&error, FetchError::Status { status, .. } if matches!(status.as_u16(), 404 | 410));
        let kind = if missing { ErrorKind::NotFound } else { ErrorKind::Failed };
        let hint = Hint::of_fetch(&error);
        let failure = OperationError::during(kind, format!("open the image {}", shown(url)))(error);
        match hint {
            Some(hint) => failure.hint(hint),
            None => failure,
        }
        .into()
    })
}

/// Most bytes of certificates; those of a whole system have a quarter of a MiB.
const MAX_CERTIFICATES: u64 = 4 << 20;

/// Certificates in PEM for the requests of an address.
fn read_ca(path: &Path) -> Result<String, Failure> {
    let text = read_named(path, MAX_CERTIFICATES).map_err(StoreError::into_io);
    text.and_then(|bytes| String::from_utf8(bytes).map_err(io::Error::other)).map_err(|error| {
        let kind = if error.kind() == io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Failed };
        Failure::during(kind, format!("read {}", path.display()))(error)
    })
}

/// The file of a name of the store, or of a path, which has a slash or names a file; and what the manifest of an installed
/// image is known by.
pub(crate) fn packed_file(global: &Global, image: &str) -> Result<(PathBuf, Option<ImageFolder>), Failure> {
    let path = Path::new(image);
    if image.contains('/') || path.is_file() {
        return Ok((path.to_owned(), None));
    }
    let name = store_name(image)?;
    let folder = crate::state::open_existing(global)?.image(&name)?;
    Ok((folder.packed(), Some(folder)))
}

/// What is neither an address nor a path can only be a name.
fn store_name(image: &str) -> Result<ImageName, Failure> {
    image.parse().map_err(|error: ParseError| {
        Failure::new(Kind::Usage, error).hint("the path of a packed file has a slash: ./FILE")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_no_image_can_have_is_wrong_usage() {
        for name in ["Debian", "a b", "-x", ""] {
            assert_eq!(store_name(name).unwrap_err().kind, Kind::Usage, "{name:?}");
        }
        assert_eq!(store_name("debian-12").unwrap().as_str(), "debian-12");
    }

    #[test]
    fn addresses_and_paths() {
        for address in ["http://a.test/x", "HTTPS://a.test/x", "ftp://a.test/x"] {
            assert!(is_address(address), "{address}");
        }
        for path in ["debian-12", "./http://x", "/srv/https://x", "://x", "http:/x", "a b://x"] {
            assert!(!is_address(path), "{path}");
        }
    }
}

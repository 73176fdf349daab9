//! Our signatures in the hands of `minisign`, its signatures in ours, and everything that is no good signature.

use std::process::Command;

use cloud_machine_image::{PackOptions, pack};

use super::*;
use crate::FileBlocks;

/// Keys and a packed image in a folder.
struct Signed {
    folder: tempfile::TempDir,
    manifest: Manifest,
}

impl Signed {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let signed = |name: &str| folder.path().join(name);
        // A disk with a table and what looks like ext4 to a packer: its magic number at byte 1080 of the partition.
        run(
            folder.path(),
            "truncate -s 2M disk.raw; echo 'start=512, size=2048, type=L' | sfdisk -q --label gpt disk.raw
            printf '\\123\\357' | dd of=disk.raw bs=1 seek=$((512 * 512 + 1080)) conv=notrunc status=none
            for key in one two; do minisign -G -W -p $key.pub -s $key.key; done",
        );
        let options = PackOptions {
            name: "debian-12".to_owned(),
            generation: 3,
            kernel_release: "6.1.0-test".to_owned(),
            root_partition: None,
        };
        let mut packed = Vec::new();
        let raw = FileBlocks::open(&signed("disk.raw")).unwrap();
        let manifest = pack(&raw, &mut packed, &options, &|_, _| ()).unwrap();
        fs::write(signed("image.zst"), packed).unwrap();
        Self { folder, manifest }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn key(&self, name: &str) -> PublicKey {
        PublicKey::of_text_or_file(self.path(&format!("{name}.pub")).to_str().unwrap()).unwrap()
    }

    fn sign(&self, key: &str) {
        let key = SecretKeyFile::read(&self.path(&format!("{key}.key"))).unwrap().open("").unwrap();
        let (packed, file) = (self.path("image.zst"), File::open(self.path("image.zst")).unwrap());
        write(&packed, &key.sign(file, &packed, &self.manifest, &|_, _| ()).unwrap()).unwrap();
    }

    fn check(&self, keys: &[&str]) -> Result<KeyId, SignatureError> {
        let keys: Vec<PublicKey> = keys.iter().map(|key| self.key(key)).collect();
        let signature = Signature::read(&self.path("image.zst"))?.expect("a signature");
        signature.check(&self.manifest, &keys, &|_, _| ())
    }

    /// The error without the folder's name.
    fn refused(&self, keys: &[&str]) -> String {
        self.check(keys).unwrap_err().to_string().replace(&format!("{}/", self.folder.path().display()), "")
    }
}

fn run(folder: &Path, command: &str) -> String {
    let output = Command::new("sh").args(["-ec", command]).current_dir(folder).output().unwrap();
    let (stderr, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command}: {stderr}{errors}");
    stderr.into_owned()
}

#[test]
fn minisign_accepts_what_we_sign_and_shows_the_image() {
    let signed = Signed::new();
    assert!(Signature::read(&signed.path("image.zst")).unwrap().is_none());
    signed.sign("one");
    let stderr = run(signed.folder.path(), "minisign -Vm image.zst -p one.pub");
    let digest = signed.manifest.digest();
    assert!(stderr.contains(&format!("Trusted comment: image:debian-12\tgeneration:3\tdigest:{digest}")), "{stderr}");
    let id = signed.key("one").id();
    assert_eq!(signed.check(&["one"]).unwrap(), id);
    assert_eq!(signed.check(&["two", "one"]).unwrap(), id, "during a rotation two keys count");
    // minisign writes the number without leading zeros, which one of sixteen keys has.
    let (comment, id) = (fs::read_to_string(signed.path("one.pub")).unwrap(), id.to_string());
    let written = comment.split_once("public key ").and_then(|(_, rest)| rest.lines().next()).unwrap();
    assert_eq!(written.trim_start_matches('0'), id.trim_start_matches('0'));
}

#[test]
fn we_accept_what_minisign_signs() {
    let signed = Signed::new();
    run(signed.folder.path(), "minisign -Sm image.zst -s two.key");
    assert_eq!(signed.check(&["one", "two"]).unwrap(), signed.key("two").id());
    run(signed.folder.path(), "minisign -Sm image.zst -s two.key -t 'generation:3 of image:debian-12, tested'");
    assert!(signed.refused(&["two"]).contains("is about image \"debian-12,\""), "a comment is read word by word");
    run(signed.folder.path(), "minisign -Sm image.zst -s two.key -t 'generation:3 image:debian-12 tested'");
    signed.check(&["two"]).unwrap();
}

#[test]
fn no_signature_a_foreign_one_and_a_wrong_one_are_three_things() {
    let signed = Signed::new();
    signed.sign("two");
    let (one, two) = (signed.key("one").id(), signed.key("two").id());
    assert_eq!(signed.refused(&["one"]), format!("it is signed by key {two}, not by {one}"));

    let whole = fs::read(signed.path("image.zst")).unwrap();
    let wrong = format!("the signature by key {two} is wrong: the file or the comment was changed");
    for at in [0, whole.len() / 2, whole.len() - 1] {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(signed.path("image.zst"), changed).unwrap();
        assert_eq!(signed.refused(&["one", "two"]), wrong, "byte {at}");
    }
    fs::write(signed.path("image.zst"), &whole[..whole.len() - 1]).unwrap();
    assert_eq!(signed.refused(&["two"]), wrong);
    fs::write(signed.path("image.zst"), &whole).unwrap();
    signed.check(&["two"]).unwrap();

    let text = fs::read_to_string(signed.path("image.zst.minisig")).unwrap();
    fs::write(signed.path("image.zst.minisig"), text.replace("generation:3", "generation:4")).unwrap();
    assert_eq!(signed.refused(&["two"]), wrong, "the comment is signed");
}

#[test]
fn a_signature_about_another_image_is_refused_although_it_is_good() {
    let signed = Signed::new();
    let digest = signed.manifest.digest().to_string();
    for (comment, expected) in [
        ("image:debian-11".to_owned(), "is about image \"debian-11\", the image has \"debian-12\"".to_owned()),
        ("generation:4".to_owned(), "is about generation \"4\", the image has \"3\"".to_owned()),
        ("digest:x".to_owned(), format!("is about digest \"x\", the image has \"{digest}\"")),
    ] {
        run(signed.folder.path(), &format!("minisign -Sm image.zst -s one.key -t '{comment}'"));
        assert_eq!(signed.refused(&["one"]), format!("the signature {expected}"));
    }
}

#[test]
fn what_is_no_signature_or_key_is_told_as_what_it_is() {
    let signed = Signed::new();
    let good = "untrusted comment: x\nRUQE+8mldKDxaPnYqO6o8qXWIayH29K61UKwzGfVxYEXkGPtzICFHzGLTIkehgv+lDxdOiZ7FiyH9P6fx0EwrCQpWONKFZu9QQo=\ntrusted comment: y\n";
    for text in ["", "x", "untrusted comment: x\nRWQ\ntrusted comment: y\nRWQ\n", good, &"x".repeat(100_000)] {
        fs::write(signed.path("image.zst.minisig"), text).unwrap();
        assert_eq!(signed.refused(&["one"]), "image.zst.minisig is not a minisign signature", "{text:.40}");
    }
    run(signed.folder.path(), "minisign -l -Sm image.zst -s one.key");
    assert!(signed.refused(&["one"]).starts_with("image.zst.minisig is a legacy signature"));
    for text in ["", "RWQ", "not a key", "RWQ\nRWQ", "RUQE+8mldKDxaDYv75VjfYzuyijEmhy7cjP0tLBFJ5D9GqEkd4OHLij3x"] {
        let error = PublicKey::parse(text).unwrap_err();
        assert!(
            error.to_string().ends_with("is not a minisign public key: 56 characters that begin with RW"),
            "{error}"
        );
    }
    assert!(
        PublicKey::of_text_or_file("/nonexistent.pub").unwrap_err().to_string().starts_with("cannot open /nonexistent")
    );
}

#[test]
fn an_encrypted_key_wants_its_password() {
    let signed = Signed::new();
    run(signed.folder.path(), "printf 'sesame\\nsesame\\n' | minisign -G -p locked.pub -s locked.key");
    let locked = SecretKeyFile::read(&signed.path("locked.key")).unwrap();
    assert!(locked.is_encrypted());
    let error = locked.open("wrong").map(drop).unwrap_err();
    assert!(error.to_string().starts_with("cannot use the secret key "), "{error}");
    assert!(std::error::Error::source(&error).unwrap().to_string().contains("Wrong password"));
    assert_eq!(locked.open("sesame").unwrap().id(), signed.key("locked").id());
    let open = SecretKeyFile::read(&signed.path("one.key")).unwrap();
    assert!(!open.is_encrypted());
    let text = fs::read_to_string(signed.path("one.key")).unwrap();
    // A key whose public half is not its own, and two that are none.
    let (head, tail) = text.split_at(text.find("\nRWQ").unwrap() + 150);
    let damaged = format!("{head}{}{}", if tail.starts_with('A') { 'B' } else { 'A' }, &tail[1..]);
    fs::write(signed.path("none.key"), damaged).unwrap();
    let key = SecretKeyFile::read(&signed.path("none.key")).unwrap().open("").unwrap();
    let file = File::open(signed.path("image.zst")).unwrap();
    assert!(key.sign(file, Path::new("image.zst"), &signed.manifest, &|_, _| ()).is_err());
    for text in ["x\ny\n", &text[..text.len() - 20]] {
        fs::write(signed.path("none.key"), text).unwrap();
        assert!(SecretKeyFile::read(&signed.path("none.key")).unwrap().open("").is_err(), "{text}");
    }
}

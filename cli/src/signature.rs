//! Signatures of images under the host's policy: which keys count, and what it means when none of them signed. Must
//! not read or write a signature itself; that is the driver's.

use std::path::Path;

use cloud_machine_driver::{
    signature::{PublicKey, SecretKey, SecretKeyFile, Signature, SignatureError},
    store::SignatureRecord,
};
use cloud_machine_image::Manifest;

use crate::{
    failure::{Failure, Kind},
    ui::Ui,
};

/// Holds the password of a secret key where nobody can type it.
const PASSWORD: &str = "CLOUD_MACHINE_SIGN_PASSWORD";

/// Keys of the configuration or the command line: their base64, or files with it.
pub(crate) fn keys(texts: &[String]) -> Result<Vec<PublicKey>, Failure> {
    texts.iter().map(|text| PublicKey::of_text_or_file(text).map_err(failure)).collect()
}

/// What is known of the signature beside `packed` without checking it.
pub(crate) fn unchecked(packed: &Path) -> Result<SignatureRecord, Failure> {
    match Signature::read(packed) {
        Ok(None) => Ok(SignatureRecord::None),
        Ok(Some(signature)) => Ok(SignatureRecord::NotChecked { key: signature.key().to_string() }),
        Err(SignatureError::Malformed { .. }) => Ok(SignatureRecord::NotChecked { key: "unreadable".to_owned() }),
        Err(error) => Err(failure(error)),
    }
}

/// Checks that one of `keys` signed `packed`, which people know as `name`.
pub(crate) fn check(
    ui: &Ui,
    packed: &Path,
    name: &str,
    manifest: &Manifest,
    keys: &[PublicKey],
) -> Result<SignatureRecord, Failure> {
    let Some(signature) = Signature::read(packed).map_err(failure)? else {
        let ids: Vec<String> = keys.iter().map(|key| key.id().to_string()).collect();
        let text = format!("image {name} is not signed; it must be, by key {}", ids.join(" or "));
        return Err(Failure::new(Kind::Refused, text)
            .hint(format!("`cloud-machine image sign {name} --sign-key FILE` signs it with a key of yours")));
    };
    let progress = ui.progress(&format!("check the signature of {name}"));
    let key = signature.check(manifest, keys, &|done, total| progress.set(done, total)).map_err(|error| {
        let kind = kind(&error);
        Failure::during(kind, format!("check the signature of image {name}"))(error)
    })?;
    Ok(SignatureRecord::Verified { key: key.to_string() })
}

/// Reads a secret key; its password comes from the environment or from whoever is at the terminal.
pub(crate) fn secret_key(path: &Path) -> Result<SecretKey, Failure> {
    let file = SecretKeyFile::read(path).map_err(failure)?;
    if !file.is_encrypted() {
        return file.open("").map_err(failure);
    }
    let password = match std::env::var(PASSWORD) {
        Ok(password) => password,
        Err(std::env::VarError::NotUnicode(_)) => {
            return Err(Failure::failed(format!("environment variable {PASSWORD} is not UTF-8")));
        }
        Err(std::env::VarError::NotPresent) => rpassword::prompt_password(format!("Password of {}: ", path.display()))
            .map_err(|error| {
                Failure::during(Kind::Failed, "ask for the password of the secret key")(error)
                    .hint(format!("without a terminal it is taken from {PASSWORD}"))
            })?,
    };
    file.open(&password).map_err(failure)
}

/// An error with its exit code: 3 when nothing is wrong with the signature but who made it, 5 when it is wrong.
pub(crate) fn failure(error: SignatureError) -> Failure {
    Failure::new(kind(&error), error)
}

fn kind(error: &SignatureError) -> Kind {
    match error {
        SignatureError::Foreign { .. } | SignatureError::Legacy { .. } => Kind::Refused,
        SignatureError::Wrong { .. } | SignatureError::OtherImage { .. } | SignatureError::Malformed { .. } => {
            Kind::Verification
        }
        SignatureError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => Kind::NotFound,
        _ => Kind::Failed,
    }
}

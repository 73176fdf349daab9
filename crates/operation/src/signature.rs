//! Signatures of images under the host's policy: which keys count, and what it means when none of them signed. Must not
//! read or write a signature itself; that is the driver's.

use std::path::Path;

use cloud_machine_image::Manifest;
use cloud_machine_packing::signature::{PublicKey, Signature, SignatureError};
use cloud_machine_store::SignatureRecord;

use crate::{
    error::{ErrorKind, OperationError},
    event::Task,
    hint::Hint,
    teller::Teller,
};

/// Keys of the configuration or the command line: their base64, or files with it.
pub fn keys(texts: &[String]) -> Result<Vec<PublicKey>, OperationError> {
    texts.iter().map(|text| PublicKey::of_text_or_file(text).map_err(failure)).collect()
}

/// What is known of the signature beside `packed` without checking it.
pub fn unchecked(packed: &Path) -> Result<SignatureRecord, OperationError> {
    match Signature::read(packed) {
        Ok(None) => Ok(SignatureRecord::None),
        Ok(Some(signature)) => Ok(SignatureRecord::NotChecked { key: signature.key().to_string() }),
        Err(SignatureError::Malformed { .. }) => Ok(SignatureRecord::NotChecked { key: "unreadable".to_owned() }),
        Err(error) => Err(failure(error)),
    }
}

/// Checks that one of `keys` signed `packed`, which people know as `name`.
pub fn check(
    teller: Teller<'_>,
    packed: &Path,
    name: &str,
    manifest: &Manifest,
    keys: &[PublicKey],
) -> Result<SignatureRecord, OperationError> {
    let Some(signature) = Signature::read(packed).map_err(failure)? else {
        let ids: Vec<String> = keys.iter().map(|key| key.id().to_string()).collect();
        let text = format!("image {name} is not signed; it must be, by key {}", ids.join(" or "));
        return Err(OperationError::new(ErrorKind::Refused, text).hint(Hint::Sign(name.to_owned())));
    };
    let working = teller.begin(Task::CheckSignature(name.to_owned()));
    let key = signature.check(manifest, keys, &|done, total| working.progress(done, total)).map_err(|error| {
        let kind = kind(&error);
        OperationError::during(kind, format!("check the signature of image {name}"))(error)
    })?;
    Ok(SignatureRecord::Verified { key: key.to_string() })
}

/// An error with its kind: refused when nothing is wrong with the signature but who made it, verification when it is wrong.
pub fn failure(error: SignatureError) -> OperationError {
    OperationError::new(kind(&error), error)
}

fn kind(error: &SignatureError) -> ErrorKind {
    match error {
        SignatureError::Foreign { .. } | SignatureError::Legacy { .. } => ErrorKind::Refused,
        SignatureError::Wrong { .. } | SignatureError::OtherImage { .. } | SignatureError::Malformed { .. } => {
            ErrorKind::Verification
        }
        SignatureError::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound => ErrorKind::NotFound,
        _ => ErrorKind::Failed,
    }
}

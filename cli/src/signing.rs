//! The secret key that signs an image, and its password. Must not sign.

use std::path::Path;

use cloud_machine_operation::signature::failure;
use cloud_machine_packing::signature::{SecretKey, SecretKeyFile};

use crate::failure::{Failure, Kind};

/// Holds the password of a secret key where nobody can type it.
const PASSWORD: &str = "CLOUD_MACHINE_SIGN_PASSWORD";

/// Reads a secret key; its password comes from the environment or from whoever is at the terminal.
pub(crate) fn secret_key(path: &Path) -> Result<SecretKey, Failure> {
    let file = SecretKeyFile::read(path).map_err(failure)?;
    if !file.is_encrypted() {
        return file.open("").map_err(|error| failure(error).into());
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
    file.open(&password).map_err(|error| failure(error).into())
}

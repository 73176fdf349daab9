//! `--stage`: calls the service for a file, for a unit or a person, since busctl(1) cannot pass one. Must not write a disk itself.

use std::{
    fs::File,
    io,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use zbus::{Fd, connection};

use crate::{
    interface::{NAME, OBJECT},
    reimage::INTERFACE,
};

/// Why nothing is staged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// There is no request.
    #[error("cannot open the request {}", file.display())]
    Open {
        /// Where it should be.
        file: PathBuf,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// No bus, no service, or one that refused.
    #[error("cannot stage the request {}", file.display())]
    Stage {
        /// Where it is.
        file: PathBuf,
        /// What was answered.
        #[source]
        source: zbus::Error,
    },
}

/// Has the service stage the request in `file`, however long that takes, and gives its token.
///
/// # Errors
/// [`AskError`].
pub(crate) fn stage(file: &Path) -> Result<String, AskError> {
    let request = File::open(file).map_err(|source| AskError::Open { file: file.to_owned(), source })?;
    let ask = async {
        let connection = connection::Builder::system().build().await?;
        let body = (Fd::from(request.as_fd()),);
        let answer = connection.call_method(Some(NAME), OBJECT, Some(INTERFACE), "Stage", &body).await?;
        answer.body().deserialize::<String>()
    };
    zbus::block_on(ask).map_err(|source| AskError::Stage { file: file.to_owned(), source })
}

//! `volume build` and `volume inspect`: volumes labelled CLOUD-INIT as files of the host.

use std::{
    fs::OpenOptions,
    io::Write,
    path::{Path, PathBuf},
};

use cloud_machine_operation::drives::unread_of;
use cloud_machine_protocol::{escape, volume::REQUEST};
use cloud_machine_store::{StoreError, read_named};
use cloud_machine_volume::{
    Volume as Opened,
    write::{build, pin},
};
use serde::Serialize;

use crate::{
    arguments::Volume,
    failure::{Failure, Kind},
    ui::{Show, Ui},
};

/// Longest path in the table; a foreign volume may hold worse ones.
const LONGEST_PATH: usize = 1024;

#[derive(Serialize)]
struct Inspected {
    file: String,
    bytes: u64,
    pin: String,
    files: Vec<FileLine>,
    /// What a machine would not read of it.
    unread: Vec<String>,
}

#[derive(Serialize)]
struct FileLine {
    path: String,
    bytes: u64,
}

impl Show for Inspected {
    const KIND: &'static str = "volume";

    fn table(&self) -> String {
        let mut text = format!("volume  {} ({} bytes)\npin     {}\n", self.file, self.bytes, self.pin);
        for file in &self.files {
            let path = escape::line(file.path.as_bytes(), LONGEST_PATH);
            text.push_str(&format!("file    {path} ({} bytes)\n", file.bytes));
        }
        for remark in &self.unread {
            text.push_str(&format!("remark  {remark}\n"));
        }
        text
    }
}

pub(crate) fn run(ui: &Ui, volume: &Volume) -> Result<(), Failure> {
    match volume {
        Volume::Build { file, files } => {
            build_file(file, files)?;
            inspect(ui, file)
        }
        Volume::Inspect { file } => inspect(ui, file),
    }
}

fn build_file(file: &Path, files: &[String]) -> Result<(), Failure> {
    let mut contents: Vec<(String, Vec<u8>)> = Vec::new();
    for argument in files {
        let (path, local) = argument.split_once('=').ok_or_else(|| {
            Failure::failed(format!("{argument:?} is not PATH=FILE")).hint("for example user-data=my.yaml")
        })?;
        contents.push((path.to_owned(), read(&PathBuf::from(local))?));
    }
    let contents: Vec<(&str, &[u8])> = contents.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())).collect();
    let bytes = build(&contents).map_err(Failure::failed)?;
    let write = |error| Failure::during(Kind::Failed, format!("write {}", file.display()))(error);
    let mut output = OpenOptions::new().write(true).create_new(true).open(file).map_err(write)?;
    output.write_all(&bytes).and_then(|()| output.sync_all()).map_err(write)
}

fn inspect(ui: &Ui, file: &Path) -> Result<(), Failure> {
    let bytes = read(file)?;
    let volume = Opened::open(bytes.as_slice()).map_err(Failure::failed)?;
    let files = volume.list().map_err(Failure::failed)?;
    // The agent reads more of the host's own volume than of a drive.
    let own = files.iter().any(|(path, _)| path == REQUEST);
    let unread = if own { Vec::new() } else { unread_of(&volume) };
    ui.result(&Inspected {
        file: file.display().to_string(),
        bytes: bytes.len() as u64,
        pin: pin(&bytes).to_string(),
        files: files.into_iter().map(|(path, bytes)| FileLine { path, bytes }).collect(),
        unread,
    })
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    read_named(path, cloud_machine_protocol::volume::MAX_SIZE).map_err(|error| match error {
        StoreError::Io { source, .. } => {
            let kind = if source.kind() == std::io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Failed };
            Failure::during(kind, format!("read {}", path.display()))(source)
        }
        StoreError::TooLarge { limit, .. } => {
            Failure::failed(format!("{} has more than the {limit} bytes of a volume", path.display()))
        }
        other => other.into(),
    })
}

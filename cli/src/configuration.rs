//! From the command line's words to one merged configuration. Owns the reading of the files; the merge is the
//! library's.

use std::{fs, io, path::Path};

use cloud_machine_config::{Config, ConfigErrors, Document, LayerKind, Merged, defaults, merge, parse, set, validate};

use crate::{
    arguments::Configuration,
    failure::{Failure, Kind},
};

/// Name of the configuration in the working folder.
const PROJECT_FILE: &str = "cloud-machine.yaml";

/// A configuration and where its values came from.
pub(crate) struct Synthesized {
    pub(crate) merged: Merged,
    pub(crate) config: Config,
}

/// Merges defaults, the working folder's document, `--config` and `--set`, and validates the result. `more` are
/// settings that stand for other options, and come last.
pub(crate) fn synthesize(configuration: &Configuration, more: &[String]) -> Result<Synthesized, Failure> {
    let merged = merged(configuration, more)?;
    let config = validate(&merged).map_err(refused)?;
    Ok(Synthesized { merged, config })
}

/// Only merges.
pub(crate) fn merged(configuration: &Configuration, more: &[String]) -> Result<Merged, Failure> {
    let mut documents = vec![defaults()];
    documents.extend(project()?);
    for path in &configuration.config {
        let bytes = fs::read(path).map_err(|error| {
            let kind = if error.kind() == io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Failed };
            Failure::during(kind, format!("read configuration {}", path.display()))(error)
        })?;
        documents.push(parsed(LayerKind::CommandLine, path, &bytes)?);
    }
    for (index, argument) in configuration.set.iter().chain(more).enumerate() {
        documents.push(set(index, argument).map_err(refused)?);
    }
    merge(&documents).map_err(refused)
}

fn project() -> Result<Option<Document>, Failure> {
    match fs::read(PROJECT_FILE) {
        Ok(bytes) => parsed(LayerKind::Project, Path::new(PROJECT_FILE), &bytes).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::during(Kind::Failed, format!("read configuration {PROJECT_FILE}"))(error)),
    }
}

fn parsed(layer: LayerKind, path: &Path, bytes: &[u8]) -> Result<Document, Failure> {
    parse(layer, &path.display().to_string(), bytes).map_err(refused)
}

/// A refusal with all its errors, each pointing into its document.
pub(crate) fn refused(errors: ConfigErrors) -> Failure {
    Failure::new(Kind::Refused, format!("the configuration is refused\n{errors}"))
}

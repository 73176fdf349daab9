//! From files, environment and command line to one merged configuration. Owns the order in which documents are
//! found; what they mean is the library's.

mod files;
mod project;

use std::{ffi::OsString, path::Path};

use cloud_machine_config::{
    CloudInitUrl, ConfigErrors, Document, LayerKind, defaults, environment, merge_all, named, parse, set, unset,
    validate,
};
use cloud_machine_driver::drivers;
use cloud_machine_operation::{
    Described, configured_driver,
    described::{refusal, refused, refused_all},
    documents as reading,
    drives::Drive,
    url_document,
};
use cloud_machine_store::ImageName;

use crate::{
    arguments::{Configuration, Last, Step},
    failure::{Failure, Kind},
    ui::Ui,
};

/// Folder of the host's own documents.
const GLOBAL: &str = "/etc/cloud-machine";
/// What names of variables that set a key begin with.
const VARIABLE: &str = "CLOUD_MACHINE__";

/// A document with the name that people know it by.
#[derive(Clone)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) document: Document,
    /// What lies beside it and nobody reads, for people.
    pub(crate) unread: Vec<String>,
}

/// What lies beside the documents and nobody reads; it is told as well.
pub(crate) fn unread(ui: &Ui, documents: &[Named]) -> Vec<String> {
    let remarks: Vec<String> = documents.iter().flat_map(|named| named.unread.iter().cloned()).collect();
    remarks.iter().for_each(|remark| ui.note(remark));
    remarks
}

/// An option that takes a name, and the key that it states.
pub(crate) struct KeyOption<'a> {
    pub(crate) option: &'static str,
    pub(crate) key: &'static str,
    pub(crate) name: &'a str,
}

impl<'a> KeyOption<'a> {
    /// `--driver`, when it was given.
    pub(crate) fn driver(name: Option<&'a String>) -> Option<Self> {
        name.map(|name| Self { option: "--driver", key: "driver", name })
    }

    /// `--image`, when it was given.
    pub(crate) fn image(name: Option<&'a ImageName>) -> Option<Self> {
        name.map(|name| Self { option: "--image", key: "image", name: name.as_str() })
    }
}

/// Merges all layers up to the command line and validates the result. `more` are names that other options state, and come
/// last.
pub(crate) fn synthesize(configuration: &Configuration, more: &[KeyOption<'_>]) -> Result<Described, Failure> {
    checked(documents(configuration, more, None)?)
}

/// Merges documents and validates the result.
pub(crate) fn checked(documents: Vec<Named>) -> Result<Described, Failure> {
    let documents = documents.into_iter().map(|named| named.document).collect();
    let merged = merge_all(documents).map_err(refused)?;
    let config = validate(&merged).map_err(refused)?;
    let described = Described { merged, config };
    // Which drivers there are, only this program knows.
    configured_driver(&drivers(), &described)?;
    Ok(described)
}

/// The documents of all layers, in their order; `last` adds the two that a machine reads for itself, as
/// far as the host can read them.
pub(crate) fn documents(
    configuration: &Configuration,
    more: &[KeyOption<'_>],
    last: Option<&Last>,
) -> Result<Vec<Named>, Failure> {
    let folder = std::env::current_dir().map_err(Failure::during(Kind::Failed, "find the working folder"))?;
    let mut collector = DocumentCollector::default();
    collector.add("built-in defaults", Ok(defaults()));
    for path in files::of_folder(Path::new(GLOBAL))? {
        collector.file(LayerKind::Global, &path)?;
    }
    if let Some(user) = files::user_folder()? {
        for path in files::of_folder(&user)? {
            collector.file(LayerKind::User, &path)?;
        }
    }
    if let Some(path) = project::nearest(&folder)? {
        collector.file(LayerKind::Project, &path)?;
    }
    collector.add("environment", environment(variables()?));
    for (index, step) in configuration.steps.iter().enumerate() {
        collector.step(index, step)?;
    }
    for (index, KeyOption { option, key, name }) in more.iter().enumerate() {
        collector.add(&format!("{option} {name}"), named(configuration.steps.len() + index, option, key, name));
    }
    let mut documents = collector.end()?;
    if let Some(last) = last {
        documents.extend(of_guest(&documents, last)?);
    }
    Ok(documents)
}

/// The last two layers. An address that the host can read is read when no file stands for it.
fn of_guest(host: &[Named], last: &Last) -> Result<Vec<Named>, Failure> {
    let mut collector = DocumentCollector::default();
    if let Some(path) = &last.url_file {
        collector.file(LayerKind::CloudInitUrl, path)?;
    } else if let Some(url) = cloud_init_url(host)
        && let Some(bytes) = url_document::url_document(&url, last.fetch_url)?
    {
        let name = url.redacted();
        collector.add(&name, parse(LayerKind::CloudInitUrl, &name, &bytes));
    }
    for path in &last.volume {
        let drive = Drive::read(path)?;
        let (name, document) = (drive.source.clone(), drive.document()?);
        collector.documents.push(Named { name, document, unread: drive.unread });
    }
    collector.end()
}

/// The address that documents of the host name. What is wrong with them is told when all are merged.
fn cloud_init_url(host: &[Named]) -> Option<CloudInitUrl> {
    let documents = host.iter().map(|named| named.document.ours()).collect();
    validate(&merge_all(documents).ok()?).ok()?.cloud_init_url
}

/// Documents, and the errors of those that are none, so that all of them are told at once.
#[derive(Default)]
struct DocumentCollector {
    documents: Vec<Named>,
    refused: Vec<ConfigErrors>,
}

impl DocumentCollector {
    fn add(&mut self, name: &str, document: Result<Document, ConfigErrors>) {
        match document {
            Ok(document) => self.documents.push(Named { name: name.to_owned(), document, unread: Vec::new() }),
            Err(errors) => self.refused.push(errors),
        }
    }

    /// A file that must be there.
    fn file(&mut self, layer: LayerKind, path: &Path) -> Result<(), Failure> {
        let name = path.display().to_string();
        // Those that are named on the command line may be pipes of the shell.
        let is_named = matches!(layer, LayerKind::CommandLine | LayerKind::CloudInitUrl);
        let bytes = if is_named { reading::read(path)? } else { reading::read_found(path)? };
        self.add(&name, parse(layer, &name, &bytes));
        Ok(())
    }

    fn step(&mut self, index: usize, step: &Step) -> Result<(), Failure> {
        match step {
            Step::File(path) => self.file(LayerKind::CommandLine, path)?,
            Step::Set(argument) => {
                // The value may be a secret.
                let key = argument.split('=').next().unwrap_or_default();
                self.add(&format!("--set {key}"), set(index, argument));
            }
            Step::Unset(key) => self.add(&format!("--unset {key}"), unset(index, key)),
        }
        Ok(())
    }

    fn end(self) -> Result<Vec<Named>, Failure> {
        if self.refused.is_empty() { Ok(self.documents) } else { Err(refused_all(self.refused).into()) }
    }
}

/// The variables that set a key. One that is not UTF-8 is an error: its value would be another one than it was.
fn variables() -> Result<Vec<(String, String)>, Failure> {
    let ours = |(name, _): &(OsString, OsString)| name.as_encoded_bytes().starts_with(VARIABLE.as_bytes());
    let text = |(name, value): (OsString, OsString)| {
        let shown = name.to_string_lossy().into_owned();
        match (name.into_string(), value.into_string()) {
            (Ok(name), Ok(value)) => Ok((name, value)),
            _ => Err(refusal(&format!("environment variable {shown:?} is not UTF-8")).into()),
        }
    };
    std::env::vars_os().filter(ours).map(text).collect()
}

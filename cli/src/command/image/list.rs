//! `image list`: the images of the store, a broken one as a row with its error. Must not change the store.

use cloud_machine_operation::installed;
use cloud_machine_store::{self as store, Store};
use comfy_table::{Table, presets::NOTHING};
use serde::Serialize;

use crate::{
    failure::Failure,
    ui::{Show, Ui},
};

#[derive(Serialize)]
struct Images {
    images: Vec<ImageRow>,
}

#[derive(Serialize)]
struct ImageRow {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kernel_release: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl Show for Images {
    const KIND: &'static str = "image-list";

    fn table(&self) -> String {
        let mut table = Table::new();
        table.load_style(NOTHING).set_header(["NAME", "SIZE", "KERNEL", "DIGEST"]);
        for image in &self.images {
            match &image.error {
                Some(error) => table.add_row([image.name.clone(), format!("error: {error}")]),
                None => table.add_row([
                    image.name.clone(),
                    image.size.map(|size| size.to_string()).unwrap_or_default(),
                    image.kernel_release.clone().unwrap_or_default(),
                    image.digest.clone().unwrap_or_default(),
                ]),
            };
        }
        table.to_string()
    }
}

pub(super) fn list(ui: &Ui, store: &Store) -> Result<(), Failure> {
    let row = |name: String, error: Failure| ImageRow {
        name,
        digest: None,
        size: None,
        kernel_release: None,
        error: Some(error.causes().join(": ")),
    };
    let mut images = Vec::new();
    for store::ImageRow { name, image, .. } in store.list_images()? {
        let manifest = image.map_err(Failure::from).and_then(|folder| Ok(installed::manifest(&folder)?));
        images.push(match manifest {
            Ok(manifest) => ImageRow {
                name,
                digest: Some(manifest.digest().to_string()),
                size: Some(manifest.size()),
                kernel_release: Some(manifest.kernel_release().to_owned()),
                error: None,
            },
            Err(failure) => row(name, failure),
        });
    }
    ui.result(&Images { images })
}

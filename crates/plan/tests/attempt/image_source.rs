//! An image behind an address: what is planned without a device for it, and which report is accepted.

use cloud_machine_plan::{Expected, PlanError, Rejection, plan, verify};
use cloud_machine_protocol::{Action, ImageSource, ImageUrl, Inventory, Report, Request, Role, SourceEvidence, Step};

use crate::{
    fixture::{DISKS, config, image, inventory, request},
    honest::honest,
    verify::{expected, record, report},
};

const URL: &str = "https://images.example/debian-12.image";

fn from_address(action: Action) -> Request {
    let mut request = request(action);
    let url = format!("{}?token=secret", URL.replace("//", "//user:secret@"));
    request.image.source = ImageSource::Url(ImageUrl { url: url.parse().unwrap(), ca: None });
    request
}

fn without_image() -> Inventory {
    let mut inventory = inventory();
    inventory.disks.retain(|disk| disk.serial.as_deref() != Some("image"));
    inventory
}

fn planned(inventory: &Inventory, action: Action) -> Result<cloud_machine_plan::Plan, PlanError> {
    plan(&config(DISKS, "refuse"), inventory, &from_address(action), &image(), Some("vde"), &"demo".parse().unwrap())
}

#[test]
fn the_step_names_the_address_without_what_gives_access() {
    let plan = planned(&without_image(), Action::Reimage).unwrap();
    let sources: Vec<&str> = plan
        .steps
        .iter()
        .filter_map(|step| if let Step::Reimage { source, .. } = &step.step { Some(source.as_str()) } else { None })
        .collect();
    assert_eq!(sources, [URL]);
    assert!(plan.devices.iter().all(|device| device.role != Role::ImageSource));
    assert_eq!(planned(&without_image(), Action::Boot).unwrap().steps.len(), 2);
}

#[test]
fn a_device_with_an_image_is_undeclared_then() {
    let error = planned(&inventory(), Action::Reimage).unwrap_err();
    assert!(matches!(error, PlanError::Undeclared { .. }), "{error}");
}

/// What the host expects and an honest agent reports.
pub(crate) fn fetched() -> (Expected, Report) {
    let (mut expected, mut report) = (expected(Action::Reimage), report(Action::Reimage));
    expected.request = from_address(Action::Reimage);
    expected.disks.retain(|disk| disk.role != Role::ImageSource);
    let plan = planned(&without_image(), Action::Reimage).unwrap();
    report.steps = plan.steps.iter().map(|step| record(&step.id, &step.step)).collect();
    report.devices = plan.devices;
    report.image_source = Some(SourceEvidence {
        url: URL.into(),
        packed_bytes: 1 << 19,
        received_bytes: 100,
        requests: 3,
        address: "10.0.2.15/24".into(),
    });
    (expected, honest(report))
}

#[test]
fn only_a_report_about_that_address_is_accepted() {
    let (expected, report) = fetched();
    let verdict = verify(&expected, &report).unwrap();
    assert!(verdict.checked.iter().any(|text| text.starts_with("image: read from the requested address")));

    let mut other = report.clone();
    other.image_source.as_mut().unwrap().url = "https://other.example/".into();
    let rejection = verify(&expected, &other).unwrap_err();
    assert_eq!(
        rejection.to_string(),
        format!("the machine read its image from \"https://other.example/\" instead of {URL:?}")
    );
    let mut none = report.clone();
    none.image_source = None;
    assert!(matches!(verify(&expected, &none), Err(Rejection::ImageAddress { found: None, .. })));
    let mut step = report;
    for record in &mut step.steps {
        if let Step::Reimage { source, .. } = &mut record.step {
            *source = "vdd".to_owned();
        }
    }
    assert!(matches!(verify(&expected, &step), Err(Rejection::StepDiffers { .. })));
}

#[test]
fn an_address_that_nobody_requested_is_rejected() {
    let (_, with_address) = fetched();
    let mut report = report(Action::Reimage);
    report.image_source = with_address.image_source;
    let rejection = verify(&expected(Action::Reimage), &report).unwrap_err();
    assert!(matches!(rejection, Rejection::ImageAddress { expected: None, .. }), "{rejection}");
}

#[test]
fn a_device_with_an_image_is_no_part_of_the_expectation() {
    let (mut wanted, report) = fetched();
    wanted.disks = expected(Action::Reimage).disks;
    let rejection = verify(&wanted, &report).unwrap_err();
    assert!(rejection.to_string().contains("one image source"), "{rejection}");
}

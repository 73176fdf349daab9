//! A reimage whose image the machine fetches from an address: applied in a real boot, over a server that breaks, and
//! refused where the server has no ranges or another image.

use cloud_machine_plan::{Rejection, verify};
use cloud_machine_protocol::{ReportResult, Role};
use cloud_machine_tests::{
    fixture::fixture,
    image_server::{Behaviour, ImageServer},
    vm::Boot,
};

#[test]
fn only_what_a_job_changed_is_fetched_from_a_server_that_breaks() {
    let (fixture, _turn) = fixture();
    let mut boot = Boot::good(&fixture);
    let server = ImageServer::start(boot.packed.clone(), Behaviour::Breaks { seed: 5, broken: 25 });
    let secret = server.url_for_machine().replace("http://", "http://me:hunter2@");
    boot.fetch_image(format!("{secret}?token=hunter2"));
    // One change in the data, beside those in every place that no partition has.
    boot.system = fixture.raw();
    for at in [100, 100 * 512, 7 << 20, 23 << 20] {
        boot.system[at] ^= 0xff;
    }
    let end = boot.run();
    let report = end.report.as_ref().unwrap_or_else(|| panic!("no report\n{}", end.console));
    assert_eq!(report.result, ReportResult::Done, "{}", end.console);
    // Behind the verified image only the identity was written, into the root filesystem.
    let raw = fixture.raw();
    assert!(end.system[..1 << 20] == raw[..1 << 20], "the boot head is not that of the image");
    assert!(end.system[21 << 20..] == raw[21 << 20..], "the end is not that of the image");
    assert!(report.devices.iter().all(|device| device.role != Role::ImageSource));

    let image = report.image_source.as_ref().expect("an address");
    assert_eq!(image.url, server.url_for_machine());
    assert!(
        server.asked_with("token=hunter2") && server.asked_with("authorization: basic"),
        "all of the address is sent"
    );
    assert!(!format!("{report:?}{}", end.console).contains("hunter2"));
    assert_eq!(image.address, "10.0.2.15/24");
    assert_eq!(image.packed_bytes, boot.packed.len() as u64);
    assert!(image.requests >= server.requests(), "{image:?}");
    // Frames of one MiB, and what broken answers sent of them; the whole image has more than ten.
    let fetched = server.bytes();
    assert!(fetched > 0 && fetched < 6 << 20, "{fetched} bytes were fetched");

    verify(&end.expected, report).unwrap_or_else(|rejection| panic!("{rejection}\n{report:#?}"));
    let mut elsewhere = report.clone();
    elsewhere.image_source = None;
    assert!(matches!(verify(&end.expected, &elsewhere), Err(Rejection::ImageAddress { found: None, .. })));
    let mut from_device = end.expected.clone();
    from_device.request.image.source =
        cloud_machine_protocol::ImageSource::Device(cloud_machine_protocol::DeviceSelector::Serial("cm-image".into()));
    assert!(verify(&from_device, report).is_err());
}

/// Boots with a server that is no good: the causes contain all of `texts`, and nothing boots.
fn refused(behaviour: Behaviour, texts: &[&str], serve: impl FnOnce(&Boot) -> Vec<u8>) {
    let (fixture, _turn) = fixture();
    let mut boot = Boot::good(&fixture);
    let server = ImageServer::start(serve(&boot), behaviour);
    boot.fetch_image(format!("{}?token=secret", server.url_for_machine()));
    let end = boot.run();
    let causes = end.causes();
    for text in texts {
        assert!(causes.contains(text), "expected {text:?} in {causes:?}\n{}", end.console);
    }
    assert!(causes.contains(&server.url_for_machine()) || !causes.contains("http"), "{causes}");
    assert!(!causes.contains("secret") && !end.console.contains("secret"), "{causes}\n{}", end.console);
    assert!(end.powered_off, "the machine must be off\n{}", end.console);
    assert!(verify(&end.expected, end.report.as_ref().expect("a report")).is_err());
}

#[test]
fn a_server_that_ignores_ranges_is_named() {
    let texts = ["cannot be opened", "does not serve ranges: it answered with the whole file"];
    refused(Behaviour::IgnoresRanges, &texts, |boot| boot.packed.clone());
}

#[test]
fn a_server_with_another_image_is_refused() {
    refused(Behaviour::Good, &["cannot reimage /dev/vda", "frame"], |boot| {
        boot.packed.iter().map(|byte| byte ^ 0x55).collect()
    });
}

//! How a disk is wiped: what the configuration asks for, what that is on a device, and that the host takes nothing
//! weaker.

use cloud_machine_plan::{Expected, PlanError, Rejection, WantedFilesystem, Wiping, is_encrypted, not_covered, verify};
use cloud_machine_protocol::{Action, Extent, Inventory, Method, Report, RootOfTrust, Step, UrlEvidence, WipeMethod};

use crate::{
    fixture::{config, inventory, planned},
    honest::honest,
    verify::{expected, record, report, sha256},
};

const ACTIONS: [Action; 2] = [Action::Boot, Action::Reimage];

fn disks(scratch: &str) -> String {
    format!("{{system: {{boot-partition: true}}, scratch: {{{scratch}}}, cache: {{on-reimage: keep}}}}")
}

fn found(discard: bool) -> Inventory {
    let mut inventory = inventory();
    inventory.disks[1].discard = discard;
    inventory
}

/// What the configuration says, whether the device can discard, and the method at a boot and at a reimage.
type Row = (&'static str, bool, Option<WipeMethod>, Option<WipeMethod>);

fn rows() -> Vec<Row> {
    let (zero, discard, recreate) = (Some(WipeMethod::Zero), Some(WipeMethod::Discard), Some(WipeMethod::Recreate));
    vec![
        ("on-reimage: keep", true, None, None),
        ("on-reimage: wipe", true, None, zero),
        ("wipe-on-boot: true, on-reimage: keep", true, discard, discard),
        ("wipe-on-boot: true, on-reimage: keep", false, zero, zero),
        ("wipe-on-boot: true", true, discard, zero),
        ("wipe-on-boot: zero, on-reimage: keep", true, zero, zero),
        ("wipe-on-boot: discard, on-reimage: keep", true, discard, discard),
        ("wipe-on-boot: discard", true, discard, zero),
        ("wipe-on-boot: recreate", true, recreate, zero),
        ("wipe-on-boot: recreate, on-reimage: keep", false, recreate, recreate),
        ("on-reimage: recreate", true, None, recreate),
        ("on-reimage: recreate, wipe-on-boot: recreate", true, recreate, recreate),
        ("on-reimage: recreate, wipe-on-boot: discard", true, discard, discard),
        ("on-reimage: recreate, wipe-on-boot: zero", true, zero, zero),
        ("on-reimage: recreate, wipe-on-boot: true", false, zero, zero),
    ]
}

#[test]
fn the_method_is_what_the_configuration_says_and_the_device_can() {
    for (text, discard, boot, reimage) in rows() {
        for (action, wanted) in ACTIONS.into_iter().zip([boot, reimage]) {
            let case = format!("{text}, {action:?}, discard {discard}");
            let plan = planned(&config(&disks(text), "refuse"), &found(discard), action).unwrap();
            let step = plan.steps.iter().find_map(|step| match &step.step {
                Step::Wipe { device, offset: 0, length, method } if device == "vdb" => Some((*length, *method)),
                _ => None,
            });
            assert_eq!(step, wanted.map(|method| (2 << 20, method)), "{case}");
            let told = wanted.map_or("kept".to_owned(), |method| format!("wipe {method}"));
            assert_eq!(plan.devices[1].method.to_string(), told, "{case}");
        }
    }
}

#[test]
fn a_device_that_cannot_discard_is_refused_before_anything_is_done() {
    for text in ["wipe-on-boot: discard", "wipe-on-boot: discard, on-reimage: keep"] {
        for action in ACTIONS {
            let error = planned(&config(&disks(text), "refuse"), &found(false), action).unwrap_err();
            assert!(matches!(error, PlanError::NoDiscard { .. }), "{error}");
            let told = "the disk `scratch` on vdb cannot be discarded; `wipe-on-boot: zero` writes zeros, `true` takes \
                        what the device can";
            assert_eq!(error.to_string(), told);
        }
    }
}

/// What the host expects and an honest agent reports.
fn attempt(text: &str, discard: bool, action: Action) -> (Expected, Report) {
    let config = config(&disks(text), "refuse");
    let (mut expected, mut report) = (expected(action), report(action));
    let declared = &config.resources.disks[&"scratch".parse().unwrap()];
    expected.disks[1].wiping = Wiping::of(action, declared).unwrap();
    expected.disks[1].encrypted = is_encrypted(declared);
    expected.disks[1].filesystem = WantedFilesystem::of(&"scratch".parse().unwrap(), declared);
    let plan = planned(&config, &found(discard), action).unwrap();
    report.steps = plan.steps.iter().map(|step| record(&step.id, &step.step)).collect();
    report.devices = plan.devices;
    (expected, honest(report))
}

fn set_method(report: &mut Report, to: WipeMethod) {
    for record in &mut report.steps {
        if let Step::Wipe { method, .. } = &mut record.step {
            *method = to;
        }
    }
    if let Method::Data { wipe, .. } = &mut report.devices[1].method {
        *wipe = Some(to);
    }
    report.not_covered = not_covered(RootOfTrust::Host, &report.devices);
}

const GROWS: &str = "wipe-on-boot: crypto, filesystem: {type: ext4, grow: true}, on-reimage: keep";

/// A filesystem behind a cipher, on a disk of which only signatures are removed.
pub(crate) fn sample() -> (Expected, Report) {
    const MIB: u64 = 1 << 20;
    let (mut expected, mut report) = attempt(GROWS, false, Action::Reimage);
    let places = [(0, 8 * MIB), (64 * MIB, 64 << 10), (92 * MIB, 8 * MIB)];
    let places = places.map(|(offset, length)| Extent { offset, length });
    (expected.disks[1].size, report.devices[1].disk.size) = (100 * MIB, 100 * MIB);
    let reading = &mut report.disks[0];
    reading.disk_size = 100 * MIB;
    reading.read_bytes = places.iter().map(|place| place.length).sum();
    (reading.zero_bytes, reading.ranges) = (reading.read_bytes, places.to_vec());
    for record in &mut report.steps {
        if let Step::Wipe { length, .. } = &mut record.step {
            *length = 100 * MIB;
        }
    }
    (expected, honest(report))
}

#[test]
fn the_host_expects_exactly_the_method_and_every_byte_read_as_zero() {
    for (text, discard, boot, reimage) in rows() {
        for (action, wanted) in ACTIONS.into_iter().zip([boot, reimage]) {
            let Some(wanted) = wanted else { continue };
            let case = format!("{text}, {action:?}, discard {discard}");
            let (expected, report) = attempt(text, discard, action);
            let verdict = verify(&expected, &report).unwrap_or_else(|rejection| panic!("{case}: {rejection}"));
            // What is left of the data is told, and nothing that was checked says otherwise.
            let recreated = wanted == WipeMethod::Recreate;
            assert_eq!(verdict.does_not_cover().contains("the disk `scratch`: signatures were removed"), recreated);
            assert_eq!(verdict.checked.iter().any(|line| line.starts_with("recreated disks")), recreated, "{case}");
            assert_eq!(verdict.checked.iter().any(|line| line.starts_with("wiped disks: every byte")), !recreated);
            let mut less = report.clone();
            less.disks[0].zero_bytes -= 512;
            assert!(matches!(verify(&expected, &less), Err(Rejection::NotWiped { .. })), "{case}");
            let honestly = report.devices[1].method.clone();
            for other in [WipeMethod::Zero, WipeMethod::Discard, WipeMethod::Recreate] {
                let mut report = report.clone();
                set_method(&mut report, other);
                let found = verify(&expected, &report);
                assert!(other == wanted || matches!(found, Err(Rejection::Method { .. })), "{case}: {other}");
                let mut step = report.clone();
                step.devices[1].method = honestly.clone();
                let differs = Err(Rejection::StepDiffers { id: "wipe-scratch".into() });
                assert!(other == wanted || verify(&expected, &step) == differs, "{case}: {other}");
            }
        }
    }
}

/// A document that the machine read for itself may ask for more than the host knows, and never for less.
#[test]
fn a_document_of_the_machine_may_only_make_a_wipe_stronger() {
    let text = "wipe-on-boot: discard, on-reimage: keep";
    let (mut expected, mut report) = attempt(text, true, Action::Boot);
    let url = "https://config.example/a".to_owned();
    expected.url = Some(cloud_machine_plan::ExpectedUrl { url: url.clone(), document: None });
    let evidence = UrlEvidence { url, document: sha256(4), requests: 1, address: None };
    report.config.as_mut().unwrap().url = Some(evidence);
    set_method(&mut report, WipeMethod::Zero);
    verify(&expected, &report).unwrap();
    expected.disks[1].wiping = Wiping::Zero;
    set_method(&mut report, WipeMethod::Discard);
    assert!(matches!(verify(&expected, &report), Err(Rejection::Method { .. })));
    // Zeros in place of a removal of signatures, and not the reverse.
    expected.disks[1].wiping = Wiping::Recreate;
    set_method(&mut report, WipeMethod::Zero);
    verify(&expected, &report).unwrap();
}

const CRYPTO: &str = "wipe-on-boot: crypto, filesystem: ext4";

#[test]
fn a_filesystem_behind_a_cipher_is_made_and_mounted_through_it() {
    for (action, text, wipe) in [
        (Action::Boot, CRYPTO.to_owned(), WipeMethod::Recreate),
        (Action::Reimage, CRYPTO.to_owned(), WipeMethod::Zero),
        (Action::Reimage, format!("{CRYPTO}, on-reimage: keep"), WipeMethod::Recreate),
        (Action::Reimage, format!("{CRYPTO}, on-reimage: recreate"), WipeMethod::Recreate),
    ] {
        let plan = planned(&config(&disks(&text), "refuse"), &found(false), action).unwrap();
        assert_eq!(plan.devices[1].method.to_string(), format!("wipe {wipe}, encrypt, create ext4"), "{text}");
        let last: Vec<&Step> = plan.steps.iter().rev().take(3).map(|step| &step.step).collect();
        let Step::WriteMounts { mounts } = last[0] else { panic!("{last:?}") };
        assert_eq!((mounts.len(), mounts[0].device.as_str()), (1, "dm-0"));
        let make = Step::MakeFilesystem {
            device: "dm-0".into(),
            partition: None,
            filesystem: "ext4".into(),
            label: None,
            uuid: None,
            options: Vec::new(),
            properties: Vec::new(),
        };
        let (device, mapped, cipher) = ("vdb".into(), "dm-0".into(), "aes-xts-plain64".into());
        assert_eq!(last[1..], [&make, &Step::Encrypt { device, mapped, cipher, key_bits: 512 }]);
        assert_eq!(plan.steps[0].step, Step::Wipe { device: "vdb".into(), offset: 0, length: 2 << 20, method: wipe });
    }
}

#[test]
fn the_host_takes_no_disk_without_its_cipher_and_does_not_call_it_erased() {
    for action in ACTIONS {
        let (expected, report) = attempt(CRYPTO, false, action);
        let verdict = verify(&expected, &report).unwrap();
        assert!(
            verdict.checked.iter().any(|line| line.starts_with("encrypted disks") && line.contains("agent's word"))
        );
        let left = verdict
            .does_not_cover()
            .contains("the disk `scratch`: of what was written through the cipher the key is gone");
        assert_eq!(left, action == Action::Boot, "{}", verdict.does_not_cover());
        let mut without = report.clone();
        without.steps.retain(|step| !matches!(step.step, Step::Encrypt { .. }));
        assert_eq!(verify(&expected, &without), Err(Rejection::StepAbsent { id: "encrypt-scratch".into() }));
        for change in [
            |step: &mut Step| {
                if let Step::Encrypt { key_bits, .. } = step {
                    *key_bits = 256
                }
            },
            |step: &mut Step| {
                if let Step::Encrypt { cipher, .. } = step {
                    *cipher = "cipher_null-ecb".into()
                }
            },
            |step: &mut Step| {
                if let Step::Encrypt { device, .. } = step {
                    *device = "vdc".into()
                }
            },
            |step: &mut Step| {
                if let Step::MakeFilesystem { device, .. } = step {
                    *device = "vdb".into()
                }
            },
            |step: &mut Step| {
                if let Step::WriteMounts { mounts } = step {
                    mounts[0].device = "vdb".into()
                }
            },
        ] {
            let mut other = report.clone();
            other.steps.iter_mut().for_each(|record| change(&mut record.step));
            assert!(matches!(verify(&expected, &other), Err(Rejection::StepDiffers { .. })), "{:?}", other.steps);
        }
        let mut plain = expected.clone();
        plain.disks[1].encrypted = false;
        assert!(verify(&plain, &report).is_err(), "a cipher that nobody asked for");
    }
}

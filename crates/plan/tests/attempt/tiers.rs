//! How much of the system disk was read, against what was asked: never less, and never said to be more.

use cloud_machine_image::sampled_bytes;
use cloud_machine_plan::{Expected, Rejection, Verdict, verify};
use cloud_machine_protocol::{Action, Report, Step, Tier};

use crate::{
    fixture::digest,
    honest::honest,
    verify::{changed, expected, report},
};

/// An attempt that was asked for `asked`, and the report of one that did `done`.
pub(crate) fn attempt(asked: Option<Tier>, done: Tier) -> (Expected, Report) {
    let (mut expected, mut report) = (expected(Action::Reimage), report(Action::Reimage));
    expected.request.tier = asked;
    let evidence = &mut report.disks[1];
    evidence.tier = Some(done);
    if matches!(done, Tier::Overlay | Tier::Hinted) {
        // Boot head and sample.
        let read = 131_072 + sampled_bytes(evidence.disk_size, expected.request.nonce.seed());
        (evidence.image_root, evidence.read_bytes, evidence.zero_bytes) = (None, read, 0);
    }
    for record in &mut report.steps {
        if let Step::Reimage { tier, .. } = &mut record.step {
            *tier = asked;
        }
    }
    report.changed.clear();
    let mut report = honest(report);
    if matches!(asked, Some(Tier::Overlay | Tier::Hinted)) && done == Tier::Scan {
        // What the map named was compared before all of the disk was.
        report
            .steps
            .iter_mut()
            .filter(|step| step.id.0 == "reimage-system")
            .for_each(|step| step.compared_bytes += 65_536);
    }
    (expected, report)
}

fn judged(asked: Option<Tier>, done: Tier) -> Result<Verdict, Rejection> {
    let (expected, report) = attempt(asked, done);
    verify(&expected, &report)
}

#[test]
fn a_machine_may_do_more_than_it_was_asked_and_never_less() {
    let all = [Tier::Overlay, Tier::Hinted, Tier::Scan, Tier::Stream, Tier::Clone, Tier::Receive];
    let accepted =
        |asked: Option<Tier>| -> Vec<Tier> { all.into_iter().filter(|done| judged(asked, *done).is_ok()).collect() };
    assert_eq!(accepted(None), [Tier::Scan, Tier::Stream]);
    assert_eq!(accepted(Some(Tier::Overlay)), [Tier::Overlay, Tier::Scan]);
    assert_eq!(accepted(Some(Tier::Hinted)), [Tier::Hinted, Tier::Scan]);
    assert_eq!(accepted(Some(Tier::Scan)), [Tier::Scan]);
    assert_eq!(accepted(Some(Tier::Stream)), [Tier::Stream]);
    // Those are of a root in a pool, which this machine has not.
    assert_eq!(accepted(Some(Tier::Clone)), []);
    assert_eq!(accepted(Some(Tier::Receive)), []);
    assert!(matches!(judged(None, Tier::Hinted), Err(Rejection::Tier { .. })));
}

#[test]
fn what_was_not_read_is_not_said_to_be_covered() {
    let whole = judged(None, Tier::Scan).unwrap();
    let gap = format!("{}; the disk `cache`: kept", whole.assurance.does_not_cover());
    assert!(whole.tier == Some(Tier::Scan) && whole.does_not_cover().starts_with(&gap), "{}", whole.does_not_cover());
    assert!(whole.checked.iter().any(|line| line.contains("every byte read back")));
    for (tier, word) in [(Tier::Overlay, "the host's golden disk"), (Tier::Hinted, "the host's own map")] {
        let verdict = judged(Some(tier), tier).unwrap();
        assert_eq!(verdict.tier, Some(tier));
        let gap = verdict.does_not_cover();
        assert!(gap.starts_with(verdict.assurance.does_not_cover()) && gap.contains(word), "{gap}");
        assert!(!verdict.checked.iter().any(|line| line.contains("every byte of")), "{:?}", verdict.checked);
        assert!(!verdict.checked.iter().any(|line| line.contains("system disk: every byte")), "{:?}", verdict.checked);
    }
}

#[test]
fn an_overlay_that_had_differed_is_refused_whatever_the_agent_made_of_it() {
    let (expected, mut report) = attempt(Some(Tier::Overlay), Tier::Overlay);
    let some = changed(&[(65_536, 65_536)]);
    report.changed = vec![changed(&[])];
    assert!(verify(&expected, &report).is_ok());
    report.changed = vec![changed(&[]), some.clone()];
    let rejection = verify(&expected, &report).unwrap_err();
    assert!(rejection.to_string().ends_with("is a fresh overlay and 65536 bytes of it had differed from the image"));

    // A map is there to name what differs.
    let (expected, mut report) = attempt(Some(Tier::Hinted), Tier::Hinted);
    report.changed = vec![some];
    verify(&expected, &honest(report)).unwrap();
}

#[test]
fn a_reading_of_nothing_and_another_image_are_refused() {
    for tier in [Tier::Overlay, Tier::Hinted] {
        let (expected, mut report) = attempt(Some(tier), tier);
        for less in [0, 1, report.disks[1].read_bytes - 512] {
            let mut report = report.clone();
            report.disks[1].read_bytes = less;
            assert!(matches!(verify(&expected, &honest(report)), Err(Rejection::Coverage { .. })), "{less}");
        }
        report.disks[1].image_root = Some(digest(9));
        assert!(matches!(verify(&expected, &report), Err(Rejection::Image { .. })));
    }
}

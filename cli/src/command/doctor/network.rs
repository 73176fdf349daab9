//! Rows of `doctor` on what machines can be connected to. Must not look at the interfaces that are there: `create` does that for the
//! one that a machine is to have.

use cloud_machine_driver::qemu::{Bridges, Qemu, bridges, closes_user_network};

use super::{Finding, Verdict};

/// What this host's QEMU and its bridge helper can do. Of a QEMU that is not there another row tells.
pub(super) fn findings() -> Vec<Finding> {
    let version = Qemu::default().version().ok();
    version.as_deref().and_then(user).into_iter().chain([bridge(bridges())]).collect()
}

/// The default network, which the first machine needs.
fn user(version: &str) -> Option<Finding> {
    let what = "network user".to_owned();
    Some(if closes_user_network(version)? {
        Finding { what, verdict: Verdict::Good, detail: "closes the host's loopback interface to machines".to_owned() }
    } else {
        let detail = "QEMU before 7.2 cannot close the host's loopback interface to machines; take a newer one, or let them reach it with \
                      `nic: {host-access: true}`"
            .to_owned();
        Finding { what, verdict: Verdict::Missing, detail }
    })
}

fn bridge(found: Bridges) -> Finding {
    let (verdict, detail) = match found {
        Bridges::Allowed(names) => (Verdict::Good, format!("QEMU's bridge helper may use {}", names.join(", "))),
        Bridges::Refused { why, way_out } => (Verdict::Optional, format!("{why}; {way_out}")),
        Bridges::Unknown { why } => (Verdict::Optional, format!("whether machines can be on one is not known: {why}")),
    };
    Finding { what: "network bridge".to_owned(), verdict, detail }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_qemu_is_told_with_the_way_out_and_one_of_no_known_version_is_not() {
        let told = |version| user(version).map(|finding| (finding.verdict, finding.detail));
        assert_eq!(told("QEMU emulator version 7.2.22 (Debian 1:7.2+dfsg-7)").unwrap().0, Verdict::Good);
        let (verdict, detail) = told("QEMU emulator version 6.2.0").unwrap();
        assert!(verdict == Verdict::Missing && detail.contains("host-access: true"), "{detail}");
        assert_eq!(told("something else"), None);
    }

    #[test]
    fn bridges_that_nobody_uses_are_not_missed() {
        let of = |found| {
            let Finding { verdict, detail, .. } = bridge(found);
            (verdict, detail)
        };
        let text = |text: &str| text.to_owned();
        assert_eq!(
            of(Bridges::Allowed(vec![text("br0"), text("br1")])),
            (Verdict::Good, text("QEMU's bridge helper may use br0, br1"))
        );
        assert_eq!(
            of(Bridges::Refused { why: text("no"), way_out: text("do this") }),
            (Verdict::Optional, text("no; do this"))
        );
        assert_eq!(of(Bridges::Unknown { why: text("no") }).0, Verdict::Optional);
    }
}

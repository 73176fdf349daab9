//! The preview against the plan: what a person is told before is what the plan does.

use cloud_machine_plan::{PreviewVerdict, preview};
use cloud_machine_protocol::Role;
use proptest::prelude::*;

use crate::{
    fixture::planned,
    properties::{fitting, machine},
};

proptest! {
    #[test]
    fn a_disk_that_the_outlook_refuses_is_one_that_the_plan_refuses(
        (config, inventory, action) in prop_oneof![machine(), fitting()],
    ) {
        // Volume and image are no disks of a configuration; a person asks before they are attached.
        let mut own = inventory.clone();
        own.disks.retain(|disk| !["image", "volume"].contains(&disk.serial.as_deref().unwrap_or_default()));
        let rows = preview(&config, &own, action);
        let refused = rows.iter().any(|row| row.verdict == PreviewVerdict::Refuse);
        let plan = planned(&config, &inventory, action);
        prop_assert!(!refused || plan.is_err(), "{rows:?}");
        let Ok(plan) = plan else { return Ok(()) };
        for record in &plan.devices {
            let row = rows.iter().find(|row| row.device.as_ref() == Some(&record.disk.name));
            match &record.role {
                Role::Declared { name } => {
                    let row = row.unwrap();
                    prop_assert_eq!(row.disk.as_ref(), Some(name));
                    prop_assert_eq!(&row.method, &record.method.to_string());
                }
                Role::Undeclared => prop_assert_eq!(row.unwrap().verdict, PreviewVerdict::Keep),
                _ => {}
            }
        }
    }
}

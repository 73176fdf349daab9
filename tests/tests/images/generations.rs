//! Generations, as the program takes them: forward by itself, back and sideways only when an operator says so.

use crate::{PACK, Place};

#[test]
fn an_image_goes_back_only_when_that_is_allowed_and_machines_want_it_said_again() {
    let place = Place::new();
    place.disk("other.raw", 2);
    place.shell(&format!("{PACK} disk.raw --generation 5"));
    place.shell(&format!("{PACK} disk.raw --generation 5"));
    place.refused(
        &format!("{PACK} disk.raw --generation 4"),
        3,
        &["image demo of generation 4 is older than generation 5", "hint: give a --generation that grows"],
    );
    place.refused(
        &format!("{PACK} other.raw --generation 5"),
        3,
        &["image demo of generation 5 is here already with other content: blake3:", "--replace"],
    );
    let inspected = place.shell("cloud-machine image inspect demo");
    assert!(inspected.contains("generation   5"), "{inspected}");
    place.shell(&format!("{PACK} other.raw --generation 5 --replace"));
    place.shell(&format!("{PACK} other.raw --generation 4 --allow-downgrade"));

    let create = "cloud-machine create old --image demo --set resources.disks.system.boot-partition=true --timeout 1";
    let told = "image demo is of generation 4, this host has had generation 5 of it";
    place.refused(create, 3, &[told, "hint: --allow-downgrade takes it"]);
    assert!(!place.exists("state/machines/old"));
    // The machine gets no time to start: what is recorded of it is what counts here.
    place.call(&format!("{create} --allow-downgrade"));
    let shown = place.shell("cloud-machine show old");
    assert!(shown.contains("generation    4\n"), "{shown}");
    assert!(shown.contains("exception     downgrade, allowed by an operator\n"), "{shown}");
    place.shell("cloud-machine plan old");

    // Another machine needs it said again, and a machine that went forward does not go back by itself.
    place.refused(&create.replace("old", "other"), 3, &[told]);
    place.shell(&format!("{PACK} disk.raw --generation 6"));
    place.call("cloud-machine reimage old --image demo --timeout 1");
    let shown = place.shell("cloud-machine show old");
    assert!(shown.contains("generation    6\n") && !shown.contains("exception"), "{shown}");
    place.shell("cloud-machine plan old");
    place.shell(&format!("{PACK} other.raw --generation 4 --allow-downgrade"));
    place.shell(&format!("{PACK} disk.raw --generation 6"));
    place.shell("cloud-machine plan old");
    place.shell("rm -r state/images/demo");
    place.refused(&format!("{PACK} disk.raw --generation 5"), 3, &["older than generation 6"]);
}

#[test]
fn a_damaged_record_of_generations_stops_and_names_its_file() {
    let place = Place::new();
    place.shell(&format!("{PACK} disk.raw --generation 2; echo x > state/generations/demo.json"));
    place.refused(&format!("{PACK} disk.raw --generation 3"), 1, &["generations/demo.json"]);
    let create = "cloud-machine create x --image demo --set resources.disks.system.boot-partition=true";
    place.refused(create, 1, &["generations/demo.json"]);
}

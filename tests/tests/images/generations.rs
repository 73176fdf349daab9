//! Generations, as the program takes them: forward by itself, back and sideways only when an operator says so.

use crate::{PACK, Workspace};

#[test]
fn an_image_goes_back_only_when_that_is_allowed_and_machines_want_it_said_again() {
    let workspace = Workspace::new();
    workspace.disk("other.raw", 2);
    workspace.shell(&format!("{PACK} disk.raw --generation 5"));
    workspace.shell(&format!("{PACK} disk.raw --generation 5"));
    workspace.refused(
        &format!("{PACK} disk.raw --generation 4"),
        3,
        &["image demo of generation 4 is older than generation 5", "hint: give a --generation that grows"],
    );
    workspace.refused(
        &format!("{PACK} other.raw --generation 5"),
        3,
        &["image demo of generation 5 is here already with other content: blake3:", "--replace"],
    );
    let inspected = workspace.shell("cloud-machine image inspect demo");
    assert!(inspected.contains("generation   5"), "{inspected}");
    workspace.shell(&format!("{PACK} other.raw --generation 5 --replace"));
    workspace.shell(&format!("{PACK} other.raw --generation 4 --allow-downgrade"));

    let create = "cloud-machine create old --image demo --set resources.disks.system.boot-partition=true --timeout 1";
    let told = "image demo is of generation 4, this host has had generation 5 of it";
    workspace.refused(create, 3, &[told, "hint: --allow-downgrade takes it"]);
    assert!(!workspace.exists("state/machines/old"));
    // The machine gets no time to start: what is recorded of it is what counts here.
    workspace.call(&format!("{create} --allow-downgrade"));
    let shown = workspace.shell("cloud-machine show old");
    assert!(shown.contains("generation    4\n"), "{shown}");
    assert!(shown.contains("exception     downgrade, allowed by an operator\n"), "{shown}");
    workspace.shell("cloud-machine plan old");

    // Another machine needs it said again, and a machine that went forward does not go back by itself.
    workspace.refused(&create.replace("old", "other"), 3, &[told]);
    workspace.shell(&format!("{PACK} disk.raw --generation 6"));
    workspace.call("cloud-machine reimage old --image demo --timeout 1");
    let shown = workspace.shell("cloud-machine show old");
    assert!(shown.contains("generation    6\n") && !shown.contains("exception"), "{shown}");
    workspace.shell("cloud-machine plan old");
    workspace.shell(&format!("{PACK} other.raw --generation 4 --allow-downgrade"));
    workspace.shell(&format!("{PACK} disk.raw --generation 6"));
    workspace.shell("cloud-machine plan old");
    workspace.shell("rm -r state/images/demo");
    workspace.refused(&format!("{PACK} disk.raw --generation 5"), 3, &["older than generation 6"]);
}

#[test]
fn a_damaged_record_of_generations_stops_and_names_its_file() {
    let workspace = Workspace::new();
    workspace.shell(&format!("{PACK} disk.raw --generation 2; echo x > state/generations/demo.json"));
    workspace.refused(&format!("{PACK} disk.raw --generation 3"), 1, &["generations/demo.json"]);
    let create = "cloud-machine create x --image demo --set resources.disks.system.boot-partition=true";
    workspace.refused(create, 1, &["generations/demo.json"]);
}

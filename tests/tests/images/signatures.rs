//! Signatures, given to the program, with the real `minisign`: three ways to be no good, and what an operator may set aside.

use std::fs;

use crate::{PACK, Workspace};

/// A workspace with keys `one` and `two` and the packed image `demo`.
fn workspace(pack: &str) -> Workspace {
    let workspace = Workspace::new();
    workspace.shell("for key in one two; do minisign -G -W -p $key.pub -s $key.key; done");
    workspace.shell(&format!("{PACK} disk.raw {pack}"));
    workspace
}

fn key(workspace: &Workspace, name: &str) -> String {
    fs::read_to_string(workspace.folder.join(format!("{name}.pub"))).unwrap().lines().nth(1).unwrap().to_owned()
}

fn id(workspace: &Workspace, name: &str) -> String {
    let text = fs::read_to_string(workspace.folder.join(format!("{name}.pub"))).unwrap();
    // minisign leaves zeros at the front of an id away.
    format!("{:0>16}", text.lines().next().unwrap().rsplit(' ').next().unwrap())
}

/// `create` under a policy; the machine gets no time to start.
fn create(workspace: &Workspace, keys: &[&str]) -> String {
    let keys: Vec<String> = keys.iter().map(|name| key(workspace, name)).collect();
    format!(
        "cloud-machine create machine --image demo --timeout 1 --set resources.disks.system.boot-partition=true \
         --set 'image-keys=[{}]'",
        keys.join(", ")
    )
}

#[test]
fn a_signature_is_made_with_the_image_or_later_and_both_programs_accept_it() {
    let workspace = workspace("--sign-key one.key");
    let (image, one) = (workspace.packed("demo").display().to_string(), id(&workspace, "one"));
    let said = workspace.shell(&format!("minisign -Vm {image} -p one.pub"));
    assert!(said.contains("Trusted comment: image:demo\tgeneration:1\tdigest:blake3:"), "{said}");
    for inspected in [format!("cloud-machine image inspect {image}"), "cloud-machine image inspect demo".to_owned()] {
        assert!(workspace.shell(&inspected).contains(&format!("signature    not checked (key {one})\n")));
    }
    let verified = workspace.shell("cloud-machine image verify demo --key one.pub");
    assert!(verified.contains(&format!("signature    key {one}\n")), "{verified}");
    workspace.shell(&format!("{PACK} disk.raw"));
    assert!(workspace.shell("cloud-machine image inspect demo").contains("signature    none\n"));
    workspace.refused(
        "cloud-machine image verify demo --key one.pub",
        3,
        &["image demo is not signed; it must be, by key"],
    );
    workspace.shell("cloud-machine image sign demo --sign-key two.key");
    workspace.shell(&format!("minisign -Vm {image} -p two.pub"));
    workspace.shell(&format!("minisign -Sm {image} -s one.key"));
    let key = key(&workspace, "one");
    workspace.shell(&format!("cloud-machine image verify demo --key '{key}' --key two.pub"));
    workspace.refused("cloud-machine image verify demo --key two.pub", 3, &["is signed by key", "not by"]);
    workspace.refused(
        "cloud-machine image verify demo --key nonsense",
        1,
        &["\"nonsense\" is not a minisign public key"],
    );
}

#[test]
fn a_password_comes_from_the_environment_or_a_terminal() {
    let workspace = workspace("");
    workspace.shell("printf 'sesame\\nsesame\\n' | minisign -G -p locked.pub -s locked.key");
    let sign = "cloud-machine image sign demo --sign-key locked.key";
    workspace.shell(&format!("CLOUD_MACHINE_SIGN_PASSWORD=sesame {sign}"));
    workspace.shell("cloud-machine image verify demo --key locked.pub");
    workspace.refused(
        &format!("CLOUD_MACHINE_SIGN_PASSWORD=wrong {sign}"),
        1,
        &["use the secret key", "Wrong password"],
    );
    workspace.refused(&format!("setsid -w {sign}"), 1, &["ask for the password", "hint: without a terminal"]);
    workspace.refused("cloud-machine image sign demo --sign-key none.key", 4, &["open none.key"]);
}

#[test]
fn a_machine_is_refused_an_image_without_a_signature_that_counts() {
    let workspace = workspace("");
    let (one, two) = (id(&workspace, "one"), id(&workspace, "two"));
    let nothing = |workspace: &Workspace| assert!(!workspace.exists("state/machines/machine"));
    let allow = "hint: --allow-unsigned takes the image as it is";
    let unsigned = format!("image demo is not signed; it must be, by key {one} or {two}");
    workspace.refused(&create(&workspace, &["one", "two"]), 3, &[&unsigned, "image sign demo", allow]);
    nothing(&workspace);

    workspace.shell("cloud-machine image sign demo --sign-key two.key");
    workspace.refused(
        &create(&workspace, &["one"]),
        3,
        &["check the signature of image demo", &format!("it is signed by key {two}, not by {one}"), allow],
    );
    nothing(&workspace);

    let packed = fs::read(workspace.packed("demo")).unwrap();
    let mut changed = packed.clone();
    changed[500_000] ^= 1;
    fs::write(workspace.packed("demo"), changed).unwrap();
    workspace.refused(&create(&workspace, &["one", "two"]), 5, &[&format!("by key {two} is wrong: the file"), allow]);
    nothing(&workspace);
    fs::write(workspace.packed("demo"), packed).unwrap();

    // During a rotation either key is good; the machine gets no time to start, but is recorded.
    workspace.call(&create(&workspace, &["one", "two"]));
    let shown = workspace.shell("cloud-machine show machine");
    assert!(shown.contains(&format!("signature     key {two}\n")) && !shown.contains("exception"), "{shown}");

    // The machine's own policy holds for the images that it gets later.
    workspace.shell(&format!("{PACK} disk.raw --generation 2"));
    workspace.refused("cloud-machine reimage machine --image demo", 3, &[&unsigned]);
    workspace.call("cloud-machine reimage machine --image demo --allow-unsigned --timeout 1");
    let shown = workspace.shell("cloud-machine show machine");
    assert!(shown.contains("signature     not verified, allowed by an operator: image demo is not signed"), "{shown}");
    assert!(shown.contains("exception     unsigned, allowed by an operator\n"), "{shown}");
}

#[test]
fn an_operator_may_set_the_rule_aside_and_that_is_recorded() {
    let workspace = workspace("--sign-key two.key");
    workspace.call(&format!("{} --allow-unsigned", create(&workspace, &["one"])));
    let shown = workspace.shell("cloud-machine show machine --output json");
    assert!(shown.contains("\"unsigned\"") && shown.contains("is signed by key"), "{shown}");
    workspace.shell("cloud-machine delete machine --yes");
    workspace.call(&format!("{} --allow-unsigned", create(&workspace, &["two"])));
    let shown = workspace.shell("cloud-machine show machine --output json");
    assert!(!shown.contains("\"unsigned\""), "what was not needed is not recorded\n{shown}");
    workspace.shell("cloud-machine delete machine --yes");
    workspace
        .call("cloud-machine create machine --image demo --timeout 1 --set resources.disks.system.boot-partition=true");
    let shown = workspace.shell("cloud-machine show machine");
    assert!(shown.contains(&format!("signature     not checked (key {})\n", id(&workspace, "two"))), "{shown}");
}

#[test]
fn an_image_under_another_name_is_refused() {
    let workspace = workspace("--sign-key one.key");
    workspace.shell("mv state/images/demo state/images/other");
    let create = create(&workspace, &["one"]).replace("--image demo", "--image other");
    workspace.refused(&create, 3, &["image other calls itself demo in its manifest"]);
}

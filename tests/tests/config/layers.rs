//! Where documents are found, in which order they count, and what is refused of them. Looks at no verdict of a driver.

use std::{fs, path::Path, process::Command};

use cloud_machine_tests::http::{Answer, Server};
use cloud_machine_volume::write as volume;
use serde_json::Value;

use crate::{Audit, Workspace, called, namespace};

#[test]
fn each_layer_hides_the_one_before_it() {
    let workspace = Workspace::new();
    let etc = workspace.folder.join("etc");
    let prepare = format!("mount --bind {} /etc", etc.display());
    fs::create_dir_all(&etc).unwrap();
    let audit = |more: &[&str], variable: Option<&str>| {
        let mut command = workspace.command();
        command.args(["config", "audit", "--output", "json"]).args(more);
        command.envs(variable.map(|value| ("CLOUD_MACHINE__RESOURCES__CPUS", value)));
        Audit::of(called(&mut namespace(command, &prepare)))
    };
    assert_eq!(audit(&[], None).cpus(), (2, "built-in default".to_owned()));

    workspace.document("etc/cloud-machine/config.yaml", "resources: {cpus: 3}");
    assert_eq!(audit(&[], None).cpus(), (3, "global /etc/cloud-machine/config.yaml:1:35".to_owned()));
    workspace.document("etc/cloud-machine/config.d/20.yaml", "resources: {cpus: 5}");
    workspace.document("etc/cloud-machine/config.d/10.yaml", "resources: {cpus: 4}");
    assert_eq!(audit(&[], None).cpus(), (5, "global /etc/cloud-machine/config.d/20.yaml:1:35".to_owned()));

    let user = workspace.document("home/.config/cloud-machine/config.yaml", "resources: {cpus: 6}");
    assert_eq!(audit(&[], None).cpus(), (6, format!("user {user}:1:35")));
    let drop_in = workspace.document("home/.config/cloud-machine/config.d/a.yaml", "resources: {cpus: 7}");
    assert_eq!(audit(&[], None).cpus(), (7, format!("user {drop_in}:1:35")));

    workspace.document("project/cloud-machine.yaml", "resources: {cpus: 8}");
    assert_eq!(audit(&[], None).cpus(), (8, "project cloud-machine.yaml:1:35".to_owned()));
    let variable = (9, "environment CLOUD_MACHINE__RESOURCES__CPUS".to_owned());
    assert_eq!(audit(&[], Some("9")).cpus(), variable);
    let file = workspace.document("file.yaml", "resources: {cpus: 10}");
    assert_eq!(audit(&["--config", &file], Some("9")).cpus(), (10, format!("command line {file}:1:35")));

    let url = workspace.document("url.yaml", "resources: {cpus: 11}");
    let arguments = ["--config", &file, "--url-file", &url];
    assert_eq!(audit(&arguments, Some("9")).cpus(), (11, format!("cloud-init URL {url}:1:35")));
    let drive = workspace.volume("drive.img", "resources: {cpus: 12}");
    let all = audit(&["--volume", &drive, "--config", &file, "--url-file", &url], Some("9"));
    assert_eq!(all.cpus(), (12, format!("volume {drive}/user-data:2:35")));
    let hidden = all.row("cloud-machine.resources.cpus")["hidden"].as_array().unwrap().clone();
    let values: Vec<i64> = hidden.iter().map(|hidden| hidden["value"].as_i64().unwrap()).collect();
    assert_eq!(values, [11, 10, 9, 8, 7, 6, 5, 4, 3, 2]);
}

#[test]
fn the_users_folder_follows_the_xdg_specification() {
    let workspace = Workspace::new();
    let other = workspace.document("xdg/cloud-machine/config.yaml", "resources: {cpus: 3}");
    workspace.document("home/.config/cloud-machine/config.yaml", "resources: {cpus: 4}");
    let cpus = |value: &str| {
        let mut command = workspace.command();
        Audit::of(called(command.env("XDG_CONFIG_HOME", value).args(["config", "audit", "--output", "json"]))).cpus()
    };
    assert_eq!(cpus(&workspace.folder.join("xdg").to_string_lossy()), (3, format!("user {other}:1:35")));
    assert_eq!(cpus("../xdg").0, 4, "a relative path counts as unset");
    assert_eq!(cpus("").0, 4);
}

#[test]
fn absent_unreadable_and_invalid_documents_differ() {
    let workspace = Workspace::new();
    assert_eq!(workspace.audit(&[]).cpus().0, 2, "absent is no error");
    workspace.refused(
        &["config", "show", "--config", "none.yaml"],
        4,
        &["read configuration none.yaml", "No such file"],
    );
    workspace.refused(&["config", "show", "--url-file", "none.yaml"], 4, &["read configuration none.yaml"]);
    workspace.refused(&["config", "show", "--config", "."], 1, &["read configuration .", "Is a directory"]);
    workspace.refused(&["config", "show", "--config", "/dev/zero"], 3, &["/dev/zero"]);

    let user = workspace.write("home/.config/cloud-machine/config.yaml", "cloud-machine: {cpus: 1}\n");
    let second = workspace.write("project/cloud-machine.yaml", "a: [\n");
    let called = workspace.refused(&["config", "show"], 3, &["cloud-machine.yaml:"]);
    assert!(called.output.is_empty());
    fs::remove_file(&second).unwrap();
    workspace.refused(&["config", "show"], 3, &[&user, "unknown key `cpus`"]);
    fs::remove_file(&user).unwrap();
    std::os::unix::fs::symlink("/nonexistent", &user).unwrap();
    workspace.refused(&["config", "show"], 4, &["read configuration", "config.yaml"]);
    fs::remove_file(&user).unwrap();
    fs::create_dir(&user).unwrap();
    workspace.refused(&["config", "show"], 1, &["is a folder, an ordinary file is expected"]);
    fs::remove_dir(&user).unwrap();
    workspace.write("home/.config/cloud-machine/config.d", "");
    workspace.refused(&["config", "show"], 1, &["list the folder", "config.d"]);
}

#[test]
fn errors_of_several_documents_are_told_together() {
    let workspace = Workspace::new();
    let (one, two) = (workspace.write("one.yaml", "a: [\n"), workspace.write("two.yaml", "b: *x\n"));
    let arguments = ["config", "audit", "--config", &one, "--config", &two, "--set", "nothing"];
    workspace.refused(&arguments, 3, &["one.yaml", "two.yaml:1:4", "--set nothing"]);
}

#[test]
fn the_project_is_the_nearest_folder_inside_the_repository_and_the_mount() {
    let workspace = Workspace::new();
    let from = |folder: &Path, prepare: Option<&str>| {
        let mut command = workspace.command();
        command.current_dir(folder).args(["config", "audit", "--output", "json"]);
        match prepare {
            Some(prepare) => Audit::of(called(&mut namespace(command, prepare))).cpus(),
            None => Audit::of(called(&mut command)).cpus(),
        }
    };
    let deep = workspace.folder.join("project/a/b");
    fs::create_dir_all(&deep).unwrap();
    let top = workspace.document("cloud-machine.yaml", "resources: {cpus: 3}");
    assert_eq!(from(&deep, None), (3, format!("project {top}:1:35")), "the root of the repository counts");
    let near = workspace.document("project/a/cloud-machine.yaml", "resources: {cpus: 4}");
    assert_eq!(from(&deep, None), (4, format!("project {near}:1:35")));
    assert_eq!(from(deep.parent().unwrap(), None), (4, "project cloud-machine.yaml:1:35".to_owned()));
    assert_eq!(from(&workspace.folder.join("project"), None).0, 3);
    // A repository below: a folder or, in a worktree, a file.
    workspace.write("project/a/b/.git", "gitdir: elsewhere\n");
    assert_eq!(from(&deep, None).0, 2);
    fs::remove_file(deep.join(".git")).unwrap();
    // Another filesystem below; the folder is entered again, since a mount does not move who is already there.
    let mount = format!("mount -t tmpfs none {0} && cd {0}", deep.display());
    assert_eq!(from(&deep, Some(&mount)).0, 2);
    assert_eq!(from(&deep, Some("true")).0, 4);
}

#[test]
fn a_strangers_document_in_a_folder_for_everybody_is_refused() {
    use std::os::unix::fs::{PermissionsExt, chown};
    let workspace = Workspace::new();
    let path = workspace.document("project/cloud-machine.yaml", "resources: {cpus: 3}");
    let open = |mode| fs::set_permissions(workspace.folder.join("project"), fs::Permissions::from_mode(mode)).unwrap();
    open(0o1777);
    assert_eq!(workspace.audit(&[]).cpus().0, 3, "one's own document counts anywhere");
    chown(&path, Some(12345), None).unwrap();
    workspace.refused(&["config", "show"], 3, &["cloud-machine.yaml belongs to user 12345", "--config"]);
    open(0o755);
    assert_eq!(workspace.audit(&[]).cpus().0, 3, "the owner of the folder let it in");
}

#[test]
fn arguments_count_in_the_order_in_which_they_are_typed() {
    let workspace = Workspace::new();
    let file = workspace.document("f.yaml", "resources: {cpus: 8}");
    let cpus = |arguments: &[&str]| workspace.audit(arguments).cpus();
    assert_eq!(cpus(&["--set", "resources.cpus=3", "--config", &file]).0, 8);
    assert_eq!(cpus(&["--config", &file, "--set", "resources.cpus=3"]).0, 3);
    assert_eq!(cpus(&["--set", "resources.cpus=3", "--set", "resources.cpus=4"]).0, 4);
    assert_eq!(cpus(&["--set", "resources.cpus=3", "--unset", "resources.cpus"]), (2, "built-in default".to_owned()));
    assert_eq!(cpus(&["--unset", "resources.cpus", "--set=resources.cpus=3"]).0, 3);
    assert_eq!(cpus(&["--config", &file, "--unset", "cloud-machine.resources"]).0, 2);
    workspace.refused(&["config", "audit", "--unset", ""], 3, &["--unset"]);
    workspace.refused(&["config", "audit", "--unset", "a..b"], 3, &["--unset a..b"]);
    workspace.refused(&["config", "audit", "--set", "resources.cpus"], 3, &["no `=`"]);
    workspace.refused(&["config", "audit", "--set"], 2, &["--set"]);
}

#[test]
fn variables_are_a_layer_of_their_own() {
    use std::os::unix::ffi::OsStrExt;
    let workspace = Workspace::new();
    let mut command = workspace.command();
    command.env("CLOUD_MACHINE__DISKS_UNDECLARED", "ignore").env("CLOUD_MACHINE_RESOURCES__CPUS", "7");
    let audit = Audit::of(called(command.args(["config", "audit", "--output", "json"])));
    let row = audit.row("cloud-machine.disks-undeclared");
    assert_eq!(row["origin"]["text"], "environment CLOUD_MACHINE__DISKS_UNDECLARED");
    assert_eq!((&row["value"], audit.cpus().0), (&Value::from("ignore"), 2));

    for (value, text) in [("many", "cpus"), ("[", "CLOUD_MACHINE__RESOURCES__CPUS")] {
        let mut command = workspace.command();
        let called = called(command.env("CLOUD_MACHINE__RESOURCES__CPUS", value).args(["config", "audit"]));
        assert!(called.code == 3 && called.errors.contains(text), "{}", called.errors);
    }
    let mut command = workspace.command();
    let value = std::ffi::OsStr::from_bytes(b"\xff");
    let called = called(command.env("CLOUD_MACHINE__IMAGE", value).args(["config", "audit"]));
    assert_eq!(called.code, 3);
    assert!(called.errors.contains("\"CLOUD_MACHINE__IMAGE\" is not UTF-8"), "{}", called.errors);
}

#[test]
fn a_volume_is_read_by_its_label_and_may_not_loosen_what_is_safe() {
    let workspace = Workspace::new();
    let drive = workspace.volume("drive.img", "resources: {ram: 2}");
    assert_eq!(workspace.audit(&["--volume", &drive]).row("cloud-machine.resources.ram")["value"], 2);
    let empty = workspace.write("empty.img", volume::build(&[("meta-data", b"")]).unwrap());
    workspace.refused(&["config", "audit", "--volume", &empty], 1, &["read the volume", "no file user-data"]);
    let noise = workspace.write("noise.img", [0x5a; 4096]);
    workspace.refused(&["config", "audit", "--volume", &noise], 1, &["read the volume", "filesystem"]);
    workspace.refused(&["config", "audit", "--volume", "none.img"], 4, &["none.img"]);
    workspace.refused(&["config", "audit", "--volume", "/dev/zero"], 1, &["more than the"]);
    assert!(Command::new("fatlabel").args([&drive, "OTHER"]).status().unwrap().success());
    workspace.refused(&["config", "audit", "--volume", &drive], 3, &["labelled \"OTHER\", not CLOUD-INIT"]);

    let file = workspace.document("f.yaml", "disks-undeclared: refuse, image: debian-12");
    let loose = workspace.volume("loose.img", "disks-undeclared: ignore");
    let arguments = ["config", "audit", "--config", &file, "--volume", &loose];
    workspace.refused(&arguments, 3, &["disks-undeclared", "loose.img/user-data:2", "f.yaml:1"]);
    let url = workspace.document("url.yaml", "image: other");
    workspace.refused(
        &["config", "audit", "--config", &file, "--url-file", &url],
        3,
        &["image", "url.yaml:1", "f.yaml:1"],
    );
}

#[test]
fn a_file_address_is_read_by_the_host_and_others_only_when_asked() {
    let workspace = Workspace::new();
    let file = workspace.write("url.yaml", "hostname: from-url\n");
    let url = format!("cloud-init-url=file://{file}");
    let audit = workspace.audit(&["--set", &url]);
    let row = audit.row("hostname");
    assert_eq!(
        (&row["value"], &row["origin"]["text"]),
        (&"from-url".into(), &format!("cloud-init URL file://{file}:1:11").into())
    );
    let pinned = format!("cloud-init-url={{url: 'file://{file}', sha256: '{}'}}", "ab".repeat(32));
    workspace.refused(&["config", "audit", "--set", &pinned], 3, &["has digest sha256:", "the configuration wants"]);
    let absent = "cloud-init-url=file:///nonexistent/url.yaml";
    workspace.refused(&["config", "audit", "--set", absent], 4, &["/nonexistent/url.yaml"]);

    let document = "hostname: from-server\n";
    let server = Server::start(Answer::Document(document.into()));
    let digest = volume::pin(document.as_bytes()).hex();
    let address = server.url().replace("10.0.2.2", "127.0.0.1");
    let url = format!("cloud-init-url={{url: '{address}?token=x', sha256: '{digest}'}}");
    let values = workspace.audit(&["--set", &url]).0["values"].to_string();
    assert!(!values.contains("from-server") && server.requests() == 0, "{values}");
    let audit = workspace.audit(&["--set", &url, "--fetch-url"]);
    assert_eq!(audit.row("hostname")["origin"]["text"], format!("cloud-init URL {address}:1:11"));
    drop(server);
    workspace.refused(
        &["config", "audit", "--set", &url, "--fetch-url"],
        1,
        &["fetch the document of cloud-init-url", &address],
    );
}

#[test]
fn what_comes_too_late_is_ignored_and_refused_when_it_is_required() {
    let workspace = Workspace::new();
    let url = workspace.document("url.yaml", "resources: {ram: 8, cpus: 2}");
    let audit = workspace.audit(&["--url-file", &url]);
    assert_eq!(audit.row("cloud-machine.resources.ram")["verdict"], "ignored");
    assert_eq!(audit.row("cloud-machine.resources.cpus")["verdict"], "exact", "it changes nothing");
    let required = ["config", "audit", "--url-file", &url, "--set", "require=[resources.ram]"];
    workspace.refused(&required, 3, &["the machine is made before it reads this document"]);
}

#[test]
fn a_drive_is_judged_before_anything_is_made() {
    let workspace = Workspace::new();
    for (ours, text) in [
        ("disks-undeclared: ignore", "a safety key may only be tightened"),
        ("resources: {rum: 2}", "unknown key `rum`"),
    ] {
        let drive = workspace.volume("drive.img", ours);
        workspace.refused(
            &["create", "demo", "--image", "none", "--drive", &drive],
            3,
            &[text, "drive.img/user-data:2:"],
        );
        workspace.refused(&["show", "demo"], 4, &[]);
    }
    workspace.refused(&["create", "demo", "--image", "none", "--drive", "none.img"], 4, &["none.img"]);
}

#[test]
fn what_nobody_reads_of_a_drive_is_told_wherever_it_is_looked_at() {
    let workspace = Workspace::new();
    let files: [(&str, &[u8]); 3] =
        [("user-data", b"hostname: a\n"), ("meta-data", b"local-hostname: b\n"), ("network-config", b"version: 2\n")];
    let drive = workspace.write("drive.img", volume::build(&files).unwrap());
    let unread = ["of meta-data, `local-hostname` is not read", "network-config is not read"];
    let audit = workspace.audit(&["--volume", &drive]);
    assert_eq!(audit.0["unread"].as_array().unwrap().len(), 2, "{}", audit.0);
    workspace.refused(&["config", "audit", "--volume", &drive], 0, &unread);
    workspace.refused(&["config", "show", "--volume", &drive], 0, &unread);
    let inspected = workspace.call(&["volume", "inspect", &drive]).output;
    assert!(unread.iter().all(|text| inspected.contains(&format!("remark  {text}"))), "{inspected}");
    let plain = workspace.volume("plain.img", "resources: {ram: 2}");
    assert_eq!(workspace.audit(&["--volume", &plain]).0["unread"].as_array().unwrap().len(), 0);
}

#[test]
fn what_gives_access_in_an_address_is_in_no_output() {
    let workspace = Workspace::new();
    let url = "cloud-init-url=https://config.example/x?token=hunter2";
    for form in ["table", "json", "yaml"] {
        let called = workspace.call(&["config", "audit", "--output", form, "--set", url]);
        assert_eq!(called.code, 0, "{}", called.errors);
        let all = format!("{}{}", called.output, called.errors);
        assert!(!all.contains("hunter2") && all.contains("https://config.example/x [redacted "), "{all}");
    }
    let wrong = "cloud-init-url=https://me:hunter2@config.example/x";
    let called = workspace.refused(&["config", "audit", "--set", wrong], 3, &["since it may hold a secret"]);
    assert!(!called.errors.contains("hunter2"), "{}", called.errors);
    let arguments = ["create", "x", "--image", "y", "--image-url", "ftp://me:hunter2@images.example/x?hunter2"];
    let called = workspace.call(&arguments);
    assert!(called.code != 0 && !called.errors.contains("hunter2"), "{}", called.errors);
}

#[test]
fn an_option_takes_a_name_as_it_is_typed() {
    let workspace = Workspace::new();
    for name in ["22.04", "1.10", "0x10", "null"] {
        let called = workspace.call(&["config", "audit", "--driver", name]);
        assert!(
            called.code == 3 && called.errors.contains(&format!("error: --driver {name}:1:1: ")),
            "{name}: {}",
            called.errors
        );
    }
    workspace.refused(&["config", "audit", "--set", "image=1.10"], 3, &["invalid value `1.10`", "write `\"1.10\"`"]);
}

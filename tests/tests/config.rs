//! Configuration at the door of the program: layers and their order, origins, verdicts, redaction, exit codes, and the
//! generated pages. Needs no machine; mounts are made in a namespace of the test's own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use cloud_machine_driver::volume;
use cloud_machine_tests::{
    artifacts::Artifacts,
    program::{Called, Program},
};
use serde_json::Value;

/// A folder with a home, a project and the program, away from any configuration of the host's user.
struct Place {
    program: Program,
    folder: PathBuf,
}

impl Place {
    fn new() -> Self {
        let program = Program::new(&Artifacts::from_environment_without_image().unwrap());
        let folder = program.command().get_current_dir().unwrap().to_owned();
        // The folder is the root of a repository: nothing above it is the test's business.
        for name in [".git", "project", "home"] {
            fs::create_dir_all(folder.join(name)).unwrap();
        }
        Self { program, folder }
    }

    /// Writes a file and says its path.
    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> String {
        let path = self.folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path.to_string_lossy().into_owned()
    }

    /// Writes a document of ours.
    fn document(&self, name: &str, ours: &str) -> String {
        self.write(name, format!("cloud-machine: {{{ours}}}\n"))
    }

    fn command(&self) -> Command {
        let mut command = self.program.command();
        command.current_dir(self.folder.join("project"));
        command.env("HOME", self.folder.join("home")).env_remove("XDG_CONFIG_HOME");
        command
    }

    fn call(&self, arguments: &[&str]) -> Called {
        called(self.command().args(arguments))
    }

    fn refused(&self, arguments: &[&str], code: i32, texts: &[&str]) -> Called {
        let called = self.call(arguments);
        assert_eq!(called.code, code, "{arguments:?}\n{}\n{}", called.output, called.errors);
        for text in texts {
            assert!(called.errors.contains(text), "{arguments:?}: expected {text:?} in\n{}", called.errors);
        }
        called
    }

    /// Values and origins by key.
    fn audit(&self, arguments: &[&str]) -> Audit {
        Audit::of(self.call(&[&["config", "audit", "--output", "json"], arguments].concat()))
    }

    /// Builds a volume with a document of ours.
    fn volume(&self, name: &str, ours: &str) -> String {
        let text = format!("#cloud-init\ncloud-machine: {{{ours}}}\n");
        self.write(name, volume::build(&[("user-data", text.as_bytes())]).unwrap())
    }
}

fn called(command: &mut Command) -> Called {
    let output = command.output().expect("the program starts");
    Called {
        code: output.status.code().unwrap_or(-1),
        output: String::from_utf8_lossy(&output.stdout).into_owned(),
        errors: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

struct Audit(Value);

impl Audit {
    fn of(called: Called) -> Self {
        assert_eq!(called.code, 0, "{}\n{}", called.output, called.errors);
        let document: Value = serde_json::from_str(&called.output).unwrap();
        assert_eq!((&document["kind"], &document["version"]), (&"config-audit".into(), &1.into()));
        Self(document["value"].clone())
    }

    fn row(&self, key: &str) -> &Value {
        let rows = self.0["values"].as_array().unwrap();
        rows.iter().find(|row| row["key"] == key).unwrap_or_else(|| panic!("no {key} in {}", self.0))
    }

    fn cpus(&self) -> (i64, String) {
        let row = self.row("cloud-machine.resources.cpus");
        (row["value"].as_i64().unwrap(), row["origin"]["text"].as_str().unwrap().to_owned())
    }
}

/// Runs a shell as root of a mount namespace of its own, below which `/etc` is a tree of the test's own.
fn namespace(command: Command, prepare: &str) -> Command {
    let mut outer = Command::new("unshare");
    outer.args(["--map-root-user", "--mount", "sh", "-euc", &format!("{prepare}\nexec \"$@\""), "sh"]);
    outer.arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => outer.env(name, value),
            None => outer.env_remove(name),
        };
    }
    outer.current_dir(command.get_current_dir().unwrap());
    outer
}

#[test]
fn each_layer_hides_the_one_before_it() {
    let place = Place::new();
    let etc = place.folder.join("etc");
    let prepare = format!("mount --bind {} /etc", etc.display());
    fs::create_dir_all(&etc).unwrap();
    let audit = |more: &[&str], variable: Option<&str>| {
        let mut command = place.command();
        command.args(["config", "audit", "--output", "json"]).args(more);
        command.envs(variable.map(|value| ("CLOUD_MACHINE__RESOURCES__CPUS", value)));
        Audit::of(called(&mut namespace(command, &prepare)))
    };
    assert_eq!(audit(&[], None).cpus(), (2, "built-in default".to_owned()));

    place.document("etc/cloud-machine/config.yaml", "resources: {cpus: 3}");
    assert_eq!(audit(&[], None).cpus(), (3, "global /etc/cloud-machine/config.yaml:1:35".to_owned()));
    place.document("etc/cloud-machine/config.d/20.yaml", "resources: {cpus: 5}");
    place.document("etc/cloud-machine/config.d/10.yaml", "resources: {cpus: 4}");
    assert_eq!(audit(&[], None).cpus(), (5, "global /etc/cloud-machine/config.d/20.yaml:1:35".to_owned()));

    let user = place.document("home/.config/cloud-machine/config.yaml", "resources: {cpus: 6}");
    assert_eq!(audit(&[], None).cpus(), (6, format!("user {user}:1:35")));
    let drop_in = place.document("home/.config/cloud-machine/config.d/a.yaml", "resources: {cpus: 7}");
    assert_eq!(audit(&[], None).cpus(), (7, format!("user {drop_in}:1:35")));

    place.document("project/cloud-machine.yaml", "resources: {cpus: 8}");
    assert_eq!(audit(&[], None).cpus(), (8, "project cloud-machine.yaml:1:35".to_owned()));
    let variable = (9, "environment CLOUD_MACHINE__RESOURCES__CPUS".to_owned());
    assert_eq!(audit(&[], Some("9")).cpus(), variable);
    let file = place.document("file.yaml", "resources: {cpus: 10}");
    assert_eq!(audit(&["--config", &file], Some("9")).cpus(), (10, format!("command line {file}:1:35")));

    let url = place.document("url.yaml", "resources: {cpus: 11}");
    let arguments = ["--config", &file, "--url-file", &url];
    assert_eq!(audit(&arguments, Some("9")).cpus(), (11, format!("cloud-init URL {url}:1:35")));
    let drive = place.volume("drive.img", "resources: {cpus: 12}");
    let all = audit(&["--volume", &drive, "--config", &file, "--url-file", &url], Some("9"));
    assert_eq!(all.cpus(), (12, format!("volume {drive}/user-data:2:35")));
    let hidden = all.row("cloud-machine.resources.cpus")["hidden"].as_array().unwrap().clone();
    let values: Vec<i64> = hidden.iter().map(|hidden| hidden["value"].as_i64().unwrap()).collect();
    assert_eq!(values, [11, 10, 9, 8, 7, 6, 5, 4, 3, 2]);
}

#[test]
fn the_users_folder_follows_the_xdg_specification() {
    let place = Place::new();
    let other = place.document("xdg/cloud-machine/config.yaml", "resources: {cpus: 3}");
    place.document("home/.config/cloud-machine/config.yaml", "resources: {cpus: 4}");
    let cpus = |value: &str| {
        let mut command = place.command();
        Audit::of(called(command.env("XDG_CONFIG_HOME", value).args(["config", "audit", "--output", "json"]))).cpus()
    };
    assert_eq!(cpus(&place.folder.join("xdg").to_string_lossy()), (3, format!("user {other}:1:35")));
    assert_eq!(cpus("../xdg").0, 4, "a relative path counts as unset");
    assert_eq!(cpus("").0, 4);
}

#[test]
fn absent_unreadable_and_invalid_documents_differ() {
    let place = Place::new();
    assert_eq!(place.audit(&[]).cpus().0, 2, "absent is no error");
    place.refused(&["config", "show", "--config", "none.yaml"], 4, &["read configuration none.yaml", "No such file"]);
    place.refused(&["config", "show", "--url-file", "none.yaml"], 4, &["read configuration none.yaml"]);
    place.refused(&["config", "show", "--config", "."], 1, &["read configuration .", "Is a directory"]);
    place.refused(&["config", "show", "--config", "/dev/zero"], 3, &["/dev/zero"]);

    let user = place.write("home/.config/cloud-machine/config.yaml", "cloud-machine: {cpus: 1}\n");
    let second = place.write("project/cloud-machine.yaml", "a: [\n");
    let called = place.refused(&["config", "show"], 3, &["cloud-machine.yaml:"]);
    assert!(called.output.is_empty());
    fs::remove_file(&second).unwrap();
    place.refused(&["config", "show"], 3, &[&user, "unknown key `cpus`"]);
    fs::remove_file(&user).unwrap();
    std::os::unix::fs::symlink("/nonexistent", &user).unwrap();
    place.refused(&["config", "show"], 4, &["read configuration", "config.yaml"]);
    fs::remove_file(&user).unwrap();
    fs::create_dir(&user).unwrap();
    place.refused(&["config", "show"], 1, &["Is a directory"]);
    fs::remove_dir(&user).unwrap();
    place.write("home/.config/cloud-machine/config.d", "");
    place.refused(&["config", "show"], 1, &["list the folder", "config.d"]);
}

#[test]
fn errors_of_several_documents_are_told_together() {
    let place = Place::new();
    let (one, two) = (place.write("one.yaml", "a: [\n"), place.write("two.yaml", "b: *x\n"));
    let arguments = ["config", "audit", "--config", &one, "--config", &two, "--set", "nothing"];
    place.refused(&arguments, 3, &["one.yaml", "two.yaml:1:4", "--set nothing"]);
}

#[test]
fn the_project_is_the_nearest_folder_inside_the_repository_and_the_mount() {
    let place = Place::new();
    let from = |folder: &Path, prepare: Option<&str>| {
        let mut command = place.command();
        command.current_dir(folder).args(["config", "audit", "--output", "json"]);
        match prepare {
            Some(prepare) => Audit::of(called(&mut namespace(command, prepare))).cpus(),
            None => Audit::of(called(&mut command)).cpus(),
        }
    };
    let deep = place.folder.join("project/a/b");
    fs::create_dir_all(&deep).unwrap();
    let top = place.document("cloud-machine.yaml", "resources: {cpus: 3}");
    assert_eq!(from(&deep, None), (3, format!("project {top}:1:35")), "the root of the repository counts");
    let near = place.document("project/a/cloud-machine.yaml", "resources: {cpus: 4}");
    assert_eq!(from(&deep, None), (4, format!("project {near}:1:35")));
    assert_eq!(from(deep.parent().unwrap(), None), (4, "project cloud-machine.yaml:1:35".to_owned()));
    assert_eq!(from(&place.folder.join("project"), None).0, 3);
    // A repository below: a folder or, in a worktree, a file.
    place.write("project/a/b/.git", "gitdir: elsewhere\n");
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
    let place = Place::new();
    let path = place.document("project/cloud-machine.yaml", "resources: {cpus: 3}");
    let open = |mode| fs::set_permissions(place.folder.join("project"), fs::Permissions::from_mode(mode)).unwrap();
    open(0o1777);
    assert_eq!(place.audit(&[]).cpus().0, 3, "one's own document counts anywhere");
    chown(&path, Some(12345), None).unwrap();
    place.refused(&["config", "show"], 3, &["cloud-machine.yaml belongs to user 12345", "--config"]);
    open(0o755);
    assert_eq!(place.audit(&[]).cpus().0, 3, "the owner of the folder let it in");
}

#[test]
fn arguments_count_in_the_order_in_which_they_are_typed() {
    let place = Place::new();
    let file = place.document("f.yaml", "resources: {cpus: 8}");
    let cpus = |arguments: &[&str]| place.audit(arguments).cpus();
    assert_eq!(cpus(&["--set", "resources.cpus=3", "--config", &file]).0, 8);
    assert_eq!(cpus(&["--config", &file, "--set", "resources.cpus=3"]).0, 3);
    assert_eq!(cpus(&["--set", "resources.cpus=3", "--set", "resources.cpus=4"]).0, 4);
    assert_eq!(cpus(&["--set", "resources.cpus=3", "--unset", "resources.cpus"]), (2, "built-in default".to_owned()));
    assert_eq!(cpus(&["--unset", "resources.cpus", "--set=resources.cpus=3"]).0, 3);
    assert_eq!(cpus(&["--config", &file, "--unset", "cloud-machine.resources"]).0, 2);
    place.refused(&["config", "audit", "--unset", ""], 3, &["--unset"]);
    place.refused(&["config", "audit", "--unset", "a..b"], 3, &["--unset a..b"]);
    place.refused(&["config", "audit", "--set", "resources.cpus"], 3, &["no `=`"]);
    place.refused(&["config", "audit", "--set"], 2, &["--set"]);
}

#[test]
fn variables_are_a_layer_of_their_own() {
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new();
    let mut command = place.command();
    command.env("CLOUD_MACHINE__DISKS_UNDECLARED", "ignore").env("CLOUD_MACHINE_RESOURCES__CPUS", "7");
    let audit = Audit::of(called(command.args(["config", "audit", "--output", "json"])));
    let row = audit.row("cloud-machine.disks-undeclared");
    assert_eq!(row["origin"]["text"], "environment CLOUD_MACHINE__DISKS_UNDECLARED");
    assert_eq!((&row["value"], audit.cpus().0), (&Value::from("ignore"), 2));

    for (value, text) in [("many", "cpus"), ("[", "CLOUD_MACHINE__RESOURCES__CPUS")] {
        let mut command = place.command();
        let called = called(command.env("CLOUD_MACHINE__RESOURCES__CPUS", value).args(["config", "audit"]));
        assert!(called.code == 3 && called.errors.contains(text), "{}", called.errors);
    }
    let mut command = place.command();
    let value = std::ffi::OsStr::from_bytes(b"\xff");
    let called = called(command.env("CLOUD_MACHINE__IMAGE", value).args(["config", "audit"]));
    assert_eq!(called.code, 3);
    assert!(called.errors.contains("\"CLOUD_MACHINE__IMAGE\" is not UTF-8"), "{}", called.errors);
}

#[test]
fn a_volume_is_read_by_its_label_and_may_not_loosen_what_is_safe() {
    let place = Place::new();
    let drive = place.volume("drive.img", "resources: {ram: 2}");
    assert_eq!(place.audit(&["--volume", &drive]).row("cloud-machine.resources.ram")["value"], 2);
    let empty = place.write("empty.img", volume::build(&[("meta-data", b"")]).unwrap());
    place.refused(&["config", "audit", "--volume", &empty], 1, &["read the volume", "no file \"user-data\""]);
    let noise = place.write("noise.img", [0x5a; 4096]);
    place.refused(&["config", "audit", "--volume", &noise], 1, &["read the volume", "filesystem"]);
    place.refused(&["config", "audit", "--volume", "none.img"], 4, &["none.img"]);
    place.refused(&["config", "audit", "--volume", "/dev/zero"], 1, &["more than the"]);
    assert!(Command::new("fatlabel").args([&drive, "OTHER"]).status().unwrap().success());
    place.refused(&["config", "audit", "--volume", &drive], 3, &["labelled \"OTHER\", not CLOUD-INIT"]);

    let file = place.document("f.yaml", "disks-undeclared: refuse, image: debian-12");
    let loose = place.volume("loose.img", "disks-undeclared: ignore");
    let arguments = ["config", "audit", "--config", &file, "--volume", &loose];
    place.refused(&arguments, 3, &["disks-undeclared", "loose.img/user-data:2", "f.yaml:1"]);
    let url = place.document("url.yaml", "image: other");
    place.refused(&["config", "audit", "--config", &file, "--url-file", &url], 3, &["image", "url.yaml:1", "f.yaml:1"]);
}

#[test]
fn the_driver_says_what_becomes_of_each_value() {
    let place = Place::new();
    let verdict = |setting: &str, key: &str| {
        let audit = place.audit(&["--set", setting]);
        let row = audit.row(&format!("cloud-machine.{key}")).clone();
        let more = row.get("to").or(row.get("why")).and_then(Value::as_str).unwrap_or_default().to_owned();
        (row["verdict"].as_str().unwrap().to_owned(), more)
    };
    let expected = |verdict: &str, more: &str| (verdict.to_owned(), more.to_owned());
    assert_eq!(verdict("resources.ram=1.5", "resources.ram"), expected("exact", ""));
    assert_eq!(verdict("resources.ram=0.1", "resources.ram"), expected("rounded", "103MiB"));
    assert_eq!(verdict("resources.ram=4GB", "resources.ram"), expected("rounded", "3815MiB"));
    assert_eq!(verdict("resources.cpus=3", "resources.cpus"), expected("exact", ""));
    let disks = "resources.disks={system: {boot-partition: true, allocation: 20GB}}";
    let key = "resources.disks.system.allocation";
    assert_eq!(verdict(disks, key), expected("rounded", "19531252KiB"));
    assert_eq!(verdict(&disks.replace("20GB", "20GiB"), key), expected("exact", ""));
    let device = |device: &str| {
        verdict(
            &format!("resources.disks={{system: {{boot-partition: true, devicepath: '{device}'}}}}"),
            "resources.disks.system.devicepath",
        )
    };
    assert_eq!(device("serial:x"), expected("exact", ""));
    assert_eq!(device("/dev/vda"), expected("unsupported", ""), "`create` refuses it");
    let (ignored, why) = verdict("resources.nic.network=user", "resources.nic.network");
    assert!(ignored == "ignored" && !why.is_empty());

    let table =
        place.call(&["config", "audit", "--set", "resources.ram=0.1", "--set", "hostname=x", "--driver", "qemu"]);
    for text in ["DRIVER qemu", "rounded to 103MiB", "for cloud-init", "exact", "argument --set resources.ram=0.1"] {
        assert!(table.output.contains(text), "{text}: {}", table.output);
    }
    place.refused(&["config", "audit", "--driver", "warp"], 3, &["no driver is called \"warp\"", "qemu"]);
}

#[test]
fn a_required_key_that_is_not_honoured_is_3_after_the_audit() {
    let place = Place::new();
    let missed = ["--set", "require=[resources.nic]", "--set", "resources.nic.network=user"];
    let arguments = [&["config", "audit"], missed.as_slice()].concat();
    let called = place.refused(&arguments, 3, &["does not honour the required resources.nic.network (ignored: "]);
    assert!(called.output.contains("cloud-machine.resources.nic.network"), "the audit is printed: {}", called.output);
    let json = place.refused(&[&arguments[..], &["--output", "json"]].concat(), 3, &[]);
    let document: Value = serde_json::from_str(&json.output).unwrap();
    assert_eq!(document["value"]["missed"][0]["key"], "resources.nic.network");
    place.refused(&[&arguments[..], &["--explain", "require"]].concat(), 3, &["resources.nic.network"]);
    let create = [&["create", "x", "--image", "y"], missed.as_slice()].concat();
    place.refused(&create, 3, &["does not honour the required resources.nic.network (ignored: "]);
    // Rounding upwards is honouring; so is a map in which nothing is set.
    assert_eq!(place.call(&["config", "audit", "--set", "require=[resources.ram, identity]"]).code, 0);
    place.refused(&["config", "audit", "--set", "require=[resources.nic.network]"], 3, &["resources.nic.network"]);
    place.refused(&["config", "audit", "--set", "require=[resources.rum]"], 3, &["`resources.rum` is not a key"]);
}

#[test]
fn all_shows_what_each_value_hid() {
    let place = Place::new();
    let file = place.document("f.yaml", "resources: {cpus: 8}");
    let arguments = ["config", "audit", "--config", &file, "--set", "resources.cpus=3"];
    assert!(!place.call(&arguments).output.contains("hides"));
    let all = place.call(&[&arguments[..], &["--all"]].concat()).output;
    assert!(all.contains(&format!("hides 8 (command line {file}:1:35)")), "{all}");
    assert!(all.contains("hides 2 (built-in default)"), "{all}");
    let yaml = place.call(&[&arguments[..], &["--all", "--output", "yaml"]].concat()).output;
    assert!(yaml.contains("cpus: 3  # argument --set resources.cpus=3; exact; hides 8 ("), "{yaml}");
}

#[test]
fn one_key_is_explained_through_all_layers() {
    let place = Place::new();
    let file = place.write("f.yaml", "cloud-machine:\n  resources:\n    ram: 2\n    cpus: !final 4\n");
    let arguments = [
        "--config",
        &file,
        "--unset",
        "resources.ram",
        "--set",
        "resources.ram=0.1",
        "--set",
        "require=[resources.ram]",
    ];
    let explain = |key: &str, more: &[&str]| {
        place.call(&[&["config", "audit", "--explain", key], arguments.as_slice(), more].concat())
    };
    let told = explain("resources.ram", &[]);
    assert_eq!(told.code, 0, "{}", told.errors);
    let expected = [
        "cloud-machine.resources.ram",
        "Memory.",
        "value    0.1",
        "origin   argument --set resources.ram=0.1",
        "driver   qemu: rounded to 103MiB",
        "1. built-in default sets it to 1",
        &format!("2. command line {file}:3:10 sets it to 2"),
        "3. --unset resources.ram takes that away: 1 (built-in default) holds again",
        "4. argument --set resources.ram=0.1 sets it to 0.1",
    ];
    for text in expected {
        assert!(told.output.contains(text), "{text:?} is not in\n{}", told.output);
    }
    let locked = explain("cloud-machine.resources.cpus", &[]).output;
    assert!(locked.contains("locked   by command line") && locked.contains(":4:11 locks it"), "{locked}");
    // All below a map, a key that nobody states, and one that is none.
    let below: Value = serde_json::from_str(&explain("resources", &["--output", "json"]).output).unwrap();
    assert_eq!(below["kind"], "config-explain");
    assert_eq!(below["value"]["keys"].as_array().unwrap().len(), 2);
    let unstated = explain("resources.disks.system.on-reimage", &[]);
    assert!(unstated.code == 0 && unstated.output.contains("not stated anywhere"), "{}", unstated.output);
    assert!(unstated.output.contains("default  wipe"), "{}", unstated.output);
    let unknown = explain("resources.rum", &[]);
    assert!(unknown.code == 4 && unknown.errors.contains("\"resources.rum\""), "{}", unknown.errors);
    place.refused(&["config", "audit", "--explain", "x", "--all"], 2, &["cannot be used with"]);
    // A later layer that touches the lock is refused, and both places are named.
    let broken = ["config", "audit", "--config", &file, "--set", "resources.cpus=5"];
    place.refused(&broken, 3, &["--set resources.cpus=5", "f.yaml:4"]);
}

const SECRET: &str = "hunter2-SECRET";

#[test]
fn secrets_are_redacted_in_every_form_and_equality_stays_visible() {
    let place = Place::new();
    let text = format!(
        "users:\n  - name: ci\n    passwd: {SECRET}\nyum: {{password: {SECRET}, other: !secret 'x-{SECRET}'}}\nplain: 1\n"
    );
    let file = place.write("f.yaml", text);
    let setting = format!("api.token={SECRET}");
    let replaced = "api.token=later";
    for form in ["table", "yaml", "json"] {
        for more in [&["--all"][..], &["--explain", "api.token"], &["--explain", "users"], &[]] {
            let arguments =
                ["config", "audit", "--output", form, "--config", &file, "--set", &setting, "--set", replaced];
            let called = place.call(&[&arguments[..], more].concat());
            assert_eq!(called.code, 0, "{}", called.errors);
            let said = format!("{}{}", called.output, called.errors);
            assert!(!said.contains(SECRET), "{form} {more:?}: {said}");
        }
    }
    let marks = |place: &Place| {
        let audit = place.audit(&["--config", &file, "--set", &setting]);
        let (password, token) = (audit.row("yum.password").clone(), audit.row("api.token").clone());
        assert_eq!((&password["secret"], &audit.row("plain")["secret"]), (&true.into(), &false.into()));
        assert_eq!(password["value"], token["value"], "equal secrets look equal");
        assert_ne!(password["value"], audit.row("yum.other")["value"]);
        assert_eq!(audit.row("users")["value"][0]["name"], "ci", "only the secret part of a list is hidden");
        password["value"].as_str().unwrap().to_owned()
    };
    let mark = marks(&place);
    assert!(mark.starts_with("[redacted ") && mark.len() == 19, "{mark}");
    assert_eq!(marks(&place), mark, "the key stays");
    assert_ne!(marks(&Place::new()), mark, "another host has another key");
    let key = place.program.state().join("redaction.key");
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&key).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    fs::write(&key, "short").unwrap();
    place.refused(&["config", "audit", "--config", &file], 1, &["redaction.key is not of 32 bytes", "delete it"]);
    // `config show` is the user's own configuration, to be loaded again.
    assert!(place.call(&["config", "show", "--config", &file]).output.contains(SECRET));
}

#[test]
fn without_a_secret_no_key_is_made() {
    let place = Place::new();
    place.audit(&[]);
    assert!(!place.program.state().exists());
}

#[test]
fn what_audit_and_show_print_as_yaml_loads_again_to_the_same() {
    let place = Place::new();
    let text = "#cloud-init
cloud-machine:
  image: debian-12
  require: [resources.ram, resources.disks]
  resources:
    ram: 512MiB
    disks:
      system: {boot-partition: true, allocation: 20GiB}
      scratch: {allocation: 1GB, wipe-on-boot: true, on-reimage: wipe}
      empty-ones: {overwrite:, allocation: 1GiB}
hostname: 'a # b'
runcmd: [[ls, '-l'], 'echo \"x: y\"', 'line\nbreak', yes, 0777, 1.5, ~, {a: {b: []}}]
users: []
nothing: {}
fqdn: \"\\u202eevil\\e[31m\"
";
    let file = place.write("f.yaml", text);
    let show = place.call(&["config", "show", "--config", &file]);
    assert_eq!(show.code, 0, "{}", show.errors);
    for form in [
        &["show"][..],
        &["show", "--output", "yaml"],
        &["audit", "--output", "yaml"],
        &["audit", "--all", "--output", "yaml"],
    ] {
        let printed = place.call(&[&["config"], form, &["--config", &file]].concat());
        assert_eq!(printed.code, 0, "{}", printed.errors);
        assert!(
            !printed.output.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'),
            "{}",
            printed.output
        );
        let again = place.write("again.yaml", &printed.output);
        let reloaded = place.call(&["config", "show", "--config", &again]);
        assert_eq!(reloaded.output, show.output, "{form:?}: {}", reloaded.errors);
        let values = |file: &str| {
            let audit = place.audit(&["--config", file]);
            let rows = audit.0["values"].as_array().unwrap().clone();
            let value = |row: Value| (row["key"].to_string(), row["value"].clone(), row["verdict"].clone());
            rows.into_iter().map(value).collect::<Vec<_>>()
        };
        assert_eq!(values(&again), values(&file));
    }
    // A redacted document loads as well: the marks are texts.
    let secret = place.write("secret.yaml", "api: {token: abc}\n");
    let redacted = place.call(&["config", "audit", "--output", "yaml", "--config", &secret]).output;
    let again = place.write("again.yaml", &redacted);
    assert!(place.call(&["config", "show", "--config", &again]).output.contains("token: \"[redacted "));
}

#[test]
fn the_generated_pages_are_those_in_the_repository() {
    let place = Place::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference");
    for (command, name) in
        [("schema", "config.schema.json"), ("reference", "configuration.md"), ("example", "cloud-machine.yaml")]
    {
        let printed = place.call(&["config", command]);
        assert_eq!(printed.code, 0, "{}", printed.errors);
        let stored = fs::read_to_string(folder.join(name)).unwrap();
        let advice =
            format!("docs/reference/{name} is not what `cloud-machine config {command}` prints: write it again");
        assert!(stored == printed.output, "{advice}");
    }
    let example = folder.join("cloud-machine.yaml");
    assert_eq!(place.call(&["config", "audit", "--config", &example.to_string_lossy()]).code, 0);
}

#[test]
fn every_example_of_the_guide_is_what_the_program_prints() {
    let place = Place::new();
    let guide = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/guides/configuration.md");
    let text = fs::read_to_string(guide).unwrap();
    let (mut files, mut calls) = (0, 0);
    for block in text.split("\n```").skip(1).step_by(2) {
        let (kind, body) = block.split_once('\n').unwrap();
        if let Some(name) = kind.strip_prefix("yaml title=") {
            place.write(name, format!("{body}\n"));
            files += 1;
        } else if kind == "console" {
            let (command, expected) = body.split_once('\n').unwrap_or((body, ""));
            let line = command.strip_prefix("$ ").unwrap();
            let script = format!("cd ..; {{ {line}; }} 2>&1");
            let mut shell = place.command();
            std::os::unix::fs::symlink(shell.get_program(), place.folder.join("home/cloud-machine"))
                .unwrap_or_default();
            let path = format!("{}:{}", place.folder.join("home").display(), std::env::var("PATH").unwrap());
            let environment: Vec<_> =
                shell.get_envs().map(|(name, value)| (name.to_owned(), value.map(ToOwned::to_owned))).collect();
            shell = Command::new("sh");
            for (name, value) in environment.into_iter().filter_map(|(name, value)| Some((name, value?))) {
                shell.env(name, value);
            }
            shell.args(["-c", &script]).current_dir(place.folder.join("project"));
            shell.env("PATH", path).env_remove("XDG_CONFIG_HOME");
            let printed = called(&mut shell).output;
            let trimmed = |text: &str| text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n");
            // The mark of a secret is another one on each host.
            let unmarked = |text: &str| {
                trimmed(text)
                    .split("[redacted ")
                    .map(|part| part.get(8..).filter(|rest| rest.starts_with(']')).unwrap_or(part).to_owned())
                    .collect::<Vec<_>>()
                    .join("[redacted ")
            };
            assert!(!printed.is_empty(), "$ {line}");
            assert_eq!(unmarked(&printed), unmarked(expected), "$ {line}");
            calls += 1;
        }
    }
    assert!(files >= 2 && calls >= 5, "{files} files, {calls} calls");
}

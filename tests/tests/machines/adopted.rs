//! A server that somebody made, taken over and cleaned by the driver of the operator's own commands: over SSH to the provider's
//! rescue system, with nothing of this host attached to it.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use cloud_machine_driver::ssh::fingerprint;
use cloud_machine_tests::{
    artifacts::{self, Artifacts},
    cloud::{Cloud, Fault, Injected},
    hostile,
    program::Program,
};
use serde_json::Value;

use super::cloud::{PATIENCE, World};

/// Name of the server and of the machine.
const NAME: &str = "ci-1";
/// Name of the image, which is the provider's.
pub(super) const IMAGE: &str = "debian-12-cloud";

/// The life of a server that runs, which this host gets to know only now.
pub(super) fn life(world: &mut World) {
    let program = Program::new(&Artifacts::from_environment_without_image().unwrap());
    program.pack_folder(&artifacts::cloud_image().unwrap(), IMAGE, &[]).unwrap();
    control(&program, world, &|text| text);
    it_is_taken_over_once(&program, world);
    let before = world.ssh("cat /etc/machine-id");

    let fake = world.machines.fake_rescue(&world.ssh("cat /root/.ssh/authorized_keys")).unwrap();
    world.feed(FAKE, &fake);
    world.feed("sh -s", format!("{LOAD}\n{}\n{MORE}", hostile::script_on_one_disk().unwrap()).as_bytes());
    world.began = Instant::now();
    world.ssh(KEXEC);
    // Until then the system of before answers.
    while !world.machines.console(world.server).contains("rescue: ready") {
        assert!(world.began.elapsed() < PATIENCE, "{}", world.machines.console(world.server));
        thread::sleep(Duration::from_millis(100));
    }
    world.comes_up("a kernel of the job's");
    assert_eq!(world.ssh("cat /proc/cmdline"), format!("{COMMAND_LINE}\n"));
    a_rescue_system_that_is_none_is_refused(&program, world);
    control(&program, world, &|text| text);
    let cleaned = reimage(&program);
    assert_eq!(cleaned["assurance"], "provider-rooted", "{cleaned}");
    assert_eq!(cleaned["rescue_host_key"], "unknown", "{cleaned}");
    let gap = cleaned["does_not_cover"].as_str().unwrap();
    assert!(gap.contains("provider") && gap.contains("network path"), "{gap}");
    let looked = program.call(["exec", NAME, "--", "sh", "-s"], hostile::checks().as_bytes());
    assert_eq!(looked.code, 0, "{}", looked.errors);
    assert!(!looked.output.contains("present"), "{}", looked.output);
    assert_eq!(
        program.done(&["exec", NAME, "--", "cat", "/etc/machine-id", "/etc/hostname"]),
        format!("{before}{NAME}\n")
    );
    let verified = program.json(["verify", NAME, "--require-assurance", "provider-rooted"]).unwrap();
    assert_eq!(verified["machines"][0]["result"]["identity_checked"], true, "{verified}");

    // What it answers with has a host key of its own, lets this host in, and uses no disk.
    let keys = program.done(&["exec", NAME, "--", "cat", "/root/.ssh/authorized_keys"]);
    let fake = world.machines.fake_rescue(&keys).unwrap();
    assert_eq!(program.call(["exec", NAME, "--", "sh", "-c", FAKE], &fake).code, 0);
    assert_eq!(program.call(["exec", NAME, "--", "sh", "-c", BOOT_FAKE], b"").code, 0);
    world.shut_down();
    the_system_of_a_job_is_no_rescue_system(&program, world, (NAME, world.server), "still on for the next start");
}

/// Whatever the job's own system answers, once the rescue system is enabled and not booted.
pub(super) fn the_system_of_a_job_is_no_rescue_system(
    program: &Program,
    world: &World,
    (name, server): (&str, u64),
    why: &str,
) {
    let before = world.disk_sum(server);
    world.ignore_rescue();
    let called = program.call(["reimage", name, "--require-assurance", "provider-rooted", "--timeout", "300"], b"");
    assert!(called.code == 3 && called.errors.contains("has not booted its rescue system"), "{}", called.errors);
    assert!(called.errors.contains(why), "{}", called.errors);
    let reply = world.cloud.ask(&format!("GET /servers/{server}"), &Value::Null).unwrap();
    assert_eq!(reply.body["server"]["status"], "off");
    assert!(world.machines.console(server).contains("rescue: ready"), "it was the job's own system that answered");
    assert!(before == world.disk_sum(server), "nothing was written");
}

/// Settings of a driver, in the folder of whoever calls the program, by the path of a file with the token; which is given.
pub(super) fn settings(program: &Program, cloud: &Cloud, file: &str, text: &dyn Fn(&str) -> String) -> PathBuf {
    let home = program.state().parent().unwrap();
    let (path, token) = (home.join(".config/cloud-machine/drivers").join(file), home.join("token"));
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&token, cloud.token()).unwrap();
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(path, text(&token.display().to_string())).unwrap();
    token
}

/// Keeps a system of the job's own on the disk, which is fed.
pub(super) const FAKE: &str = "cat > /boot/fake && cp /boot/vmlinuz-* /boot/fake-kernel && sync";

/// Has the boot loader start it, whose own code is made whole again: what another job has planted lies in it. Its first sector
/// has a list of where the others are.
pub(super) const BOOT_FAKE: &str = "sed -i -e 's|^linux .*|linux /fake-kernel console=ttyS0 net.ifnames=0 no_timer_check quiet panic=-1|' \
     -e 's|^initrd .*|initrd /fake|' /boot/grub/grub.cfg && grep -q fake-kernel /boot/grub/grub.cfg && \
     dd if=/boot/grub/i386-pc/core.img of=/dev/vda bs=512 skip=1 seek=35 conv=notrunc,fsync status=none && sync";

const COMMAND_LINE: &str = "console=ttyS0 net.ifnames=0 no_timer_check quiet panic=-1 of=the-job";

/// Loads it by kexec_file_load(2), which has the number 320 on x86-64.
const LOAD: &str = "perl -e '
open(my $kernel, q(<), q(/boot/fake-kernel)) or die; open(my $initrd, q(<), q(/boot/fake)) or die;
my $line = qq(console=ttyS0 net.ifnames=0 no_timer_check quiet panic=-1 of=the-job\\0);
syscall(320, fileno($kernel), fileno($initrd), length($line), $line, 0) == 0 or die qq(kexec_file_load: $!\\n)'";

/// Starts it by reboot(2), number 169, with LINUX_REBOOT_CMD_KEXEC, once the connection has ended: nobody would end it then.
const KEXEC: &str =
    "export SESSION=$PPID; setsid sh -c 'while [ -d /proc/$SESSION ]; do sleep 0.2; done; sleep 1; sync;
exec perl -e \"syscall(169, 0xfee1dead, 672274793, 0x45584543, 0)\"' </dev/null >/dev/null 2>&1 &";

/// What else the job does: the boot sector goes, and the machine takes another address.
const MORE: &str = "
printf '[Match]\\nName=e*\\n[Network]\\nAddress=10.99.0.9/24\\n' > /etc/systemd/network/00-evil.network
dd if=/dev/zero of=/dev/vda bs=440 count=1 conv=notrunc status=none
sync
";

/// Each ends with the machine off and its disk as it was.
fn a_rescue_system_that_is_none_is_refused(program: &Program, world: &World) {
    let before = world.disk_sum(world.server);
    let refused = |change: &dyn Fn(String) -> String, code: i32, why: &str| {
        control(program, world, change);
        let words = ["reimage", NAME, "--require-assurance", "provider-rooted", "--timeout", "300"];
        let called = program.call(words, b"");
        assert!(called.code == code && called.errors.contains(why), "{why}: {} {}", called.code, called.errors);
        assert_eq!(world.field("status"), "off", "{why}");
    };
    let impatient = |text: String| text.replace("rescue: {", "rescue: {boot-limit: 1, ");
    refused(&impatient, 6, "the rescue system does not answer");
    world.cloud.inject(Injected::once("POST", "/actions/enable_rescue", Fault::RescueUsesDisk));
    refused(&|text| text, 1, "/dev/vda is in use: vda2 is mounted at /mnt");
    let stays_off = |text: String| text.replace("\"rescue-on\"", "\"rescue\"");
    refused(&stays_off, 6, "the rescue system of machine ci-1 is not on");
    assert!(before == world.disk_sum(world.server), "nothing was written");
    let required = program.call(["reimage", NAME], b"");
    assert!(required.code == 5 && required.errors.contains("host-rooted"), "{}", required.errors);
}

/// The commands for the server.
fn control(program: &Program, world: &World, change: &dyn Fn(String) -> String) {
    settings(program, &world.cloud, "ssh/default.yaml", &|token| change(commands(world, token)));
}

fn commands(world: &World, token: &str) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/cloud/control.py");
    let command = |verb: &str| {
        let words = [
            artifacts::hcloud().unwrap().display().to_string(),
            script.display().to_string(),
            world.cloud.endpoint(),
            token.to_owned(),
            "{name}".to_owned(),
            verb.to_owned(),
        ];
        serde_json::to_string(&words).unwrap()
    };
    let keyed = command("rescue-on").replace(']', ",\"{public-key}\"]");
    format!(
        "power: {{on: {}, off: {}, state: {}}}\nrescue: {{one-boot: true, on: {keyed}, off: {}, state: {}}}\n",
        command("on"),
        command("off"),
        command("power"),
        command("rescue-off"),
        command("rescue"),
    )
}

fn it_is_taken_over_once(program: &Program, world: &World) {
    let (place, key) = (format!("root@{}", world.address), world.folder.path().join("key").display().to_string());
    let adopt = |host_key: &str| {
        let words = ["adopt", NAME, "--ssh", &place, "--host-key", host_key, "--identity", &key, "--image", IMAGE];
        program.call(words.into_iter().chain(["--output", "json"]), b"")
    };
    let other = adopt("SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA");
    assert_eq!(other.code, 5, "{}", other.errors);
    let known = fingerprint(&world.host_key());
    assert!(other.errors.contains(&known), "{}", other.errors);
    assert_eq!(program.call(["show", NAME], b"").code, 4, "nothing is recorded of a machine that nobody vouches for");
    for unchanged in [false, true] {
        let adopted = adopt(&known);
        assert_eq!(adopted.code, 0, "{}", adopted.errors);
        let result: Value = serde_json::from_str(&adopted.output).unwrap();
        let result = &result["value"]["machines"][0]["result"];
        assert_eq!(
            (&result["unchanged"], &result["facts"]["firmware"]),
            (&unchanged.into(), &"bios".into()),
            "{result}"
        );
    }
    let refused = program.call(["verify", NAME, "--stored-only"], b"");
    assert_eq!(refused.code, 5, "that it was taken over proves nothing: {}", refused.output);
}

/// What a reimage through the rescue system gives.
fn reimage(program: &Program) -> Value {
    let result = program.json(["reimage", NAME, "--require-assurance", "provider-rooted", "--timeout", "600"]);
    let result = result.unwrap_or_else(|failed| panic!("{failed}"));
    result["machines"][0]["result"].clone()
}

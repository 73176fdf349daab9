//! The program and a real Debian machine, from end to end: the scenario of the demo, then the ways in which an
//! operator's day goes wrong. One machine, since a boot in software emulation takes half a minute, and of the smallest image, since
//! that is written and read ten times.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use cloud_machine_tests::{
    artifacts::{Artifacts, lean_image},
    hostile,
    http::{Answer, Server},
    program::Program,
    scenario::{self, Image, MACHINE},
};
use cloud_machine_volume::write as volume;

const IMAGE: &str = "debian-12-lean";

/// How long to wait for something that a machine does.
const PATIENCE: Duration = Duration::from_secs(300);

#[test]
fn a_machine_through_hostile_jobs_kills_and_deletion() {
    let artifacts = Artifacts::from_environment().unwrap();
    let program = Program::new(&artifacts);
    let ended = super::drivers::life(Image { folder: &lean_image().unwrap(), name: IMAGE }, &program, "qemu");
    the_planted_volume_was_seen_and_ignored(&program, &ended);
    super::drivers::it_is_as_lean_as_it_says(&program);
    super::drivers::people_reach_it(&program);
    a_machine_that_is_busy_is_locked(&program);
    a_machine_that_is_late_is_off(&program);
    killed_in_the_middle_and_started_again(&program);
    super::drivers::stopped_and_started_it_keeps_its_disk(&program);
    evidence_that_is_another_is_refused(&program);
    the_hosts_map_takes_back_what_was_done_since(&program);
    a_map_of_a_killed_process_is_not_believed(&program);
    a_fresh_overlay_is_a_reimage(&program);
    a_golden_disk_that_differs_is_refused(&program);
    weaker_evidence_is_refused(&program);
    a_corrupt_image_ends_in_quarantine(&program);
    a_machine_reads_documents_of_its_own(&program);
    let deleted = program.call(["delete", MACHINE, "--yes"], b"");
    assert_eq!(deleted.code, 0, "{}", deleted.errors);
    assert_eq!(program.call(["show", MACHINE], b"").code, 4);
}

fn the_planted_volume_was_seen_and_ignored(program: &Program, ended: &scenario::Ended) {
    let path = ended.reimage["machines"][0]["result"]["report"].as_str().expect("the report's path");
    let evidence: serde_json::Value = serde_json::from_reader(File::open(path).unwrap()).unwrap();
    let ignored = evidence["report"]["ignored_volumes"].to_string();
    assert!(ignored.contains("vdb"), "the volume on the data disk: {ignored}");
    let printed = program.call(["show", MACHINE], b"").output;
    assert!(!printed.contains("evil"), "{printed}");
}

fn a_machine_that_is_busy_is_locked(program: &Program) {
    let lock = File::open(program.state().join("locks/machines").join(MACHINE)).unwrap();
    lock.try_lock().unwrap();
    let busy = program.call(["reimage", MACHINE], b"");
    assert_eq!(busy.code, 8, "{}", busy.errors);
    lock.unlock().unwrap();
}

/// No machine starts in one second; what began must be ended, and a second call may go on.
fn a_machine_that_is_late_is_off(program: &Program) {
    let late = program.call(["create", "late", "--image", IMAGE, "--timeout", "1"], b"");
    assert_eq!(late.code, 6, "{}", late.errors);
    let record = program.json(["show", "late"]).unwrap();
    assert_eq!((record["record"]["state"].as_str(), record["process"].as_str()), (Some("failed"), Some("none")));
    assert_eq!(program.call(["delete", "late", "--yes"], b"").code, 0);
}

/// QEMU is killed while the disk has no boot head; `start` must finish the reimage and start nothing else.
fn killed_in_the_middle_and_started_again(program: &Program) {
    let planted = program.call(["exec", MACHINE, "--", "sh", "-s"], hostile::script().unwrap().as_bytes());
    assert_eq!(planted.code, 0, "{}", planted.errors);
    let mut reimage = program.command();
    reimage.args(["reimage", MACHINE]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut reimage = reimage.spawn().unwrap();
    wait_until(&mut reimage, || Ok(!has_boot_head(program)?));
    kill_machine(program);
    let output = reimage.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(5), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(!has_boot_head(program).unwrap(), "a half made disk must not boot");
    assert_eq!(state(program), "failed");
    let refused = program.call(["exec", MACHINE, "--", "true"], b"");
    assert_eq!(refused.code, 1, "a machine that is half made takes no jobs: {}", refused.errors);
    let verified = program.call(["verify", MACHINE, "--require-assurance", "host-rooted"], b"");
    assert_eq!(verified.code, 5, "an older report says nothing of it: {}", verified.output);
    assert!(verified.errors.contains("another attempt began since"), "{}", verified.errors);

    let started = program.call(["start", MACHINE], b"");
    assert_eq!(started.code, 0, "{}", started.errors);
    assert!(started.errors.contains("was not finished"), "{}", started.errors);
    assert!(started.output.contains("host-rooted"), "{}", started.output);
    let looked = program.call(["exec", MACHINE, "--", "sh", "-s"], hostile::checks().as_bytes());
    assert_eq!(looked.code, 0, "{}", looked.errors);
    assert!(!looked.output.contains("present"), "{}", looked.output);
}

/// What lies in the place of the evidence or the record, once each is judged again: changed, missing, of another kind.
fn evidence_that_is_another_is_refused(program: &Program) {
    let verify = || program.call(["verify", MACHINE, "--stored-only"], b"");
    let good = verify();
    assert_eq!(good.code, 0, "a boot does not end what the report says: {}", good.errors);
    let folder = program.state().join("machines").join(MACHINE);
    let record = folder.join("machine.json");
    let read = |path: &Path| fs::read_to_string(path).unwrap();
    let known: serde_json::Value = serde_json::from_str(&read(&record)).unwrap();
    let last = folder.join(known["last_report"].as_str().unwrap());
    let evidence: serde_json::Value = serde_json::from_str(&read(&last)).unwrap();
    let before = folder.join(evidence["previous"]["report"].as_str().expect("there was a report before"));
    let key = program.state().join("evidence.key");
    type Change<'a> = Box<dyn Fn(&Path) + 'a>;
    let replaced = |from: &'static str, to: &'static str| -> Change<'_> {
        Box::new(move |path| {
            let text = fs::read_to_string(path).unwrap();
            assert!(text.contains(from), "{from} in {}", path.display());
            fs::write(path, text.replacen(from, to, 1)).unwrap();
        })
    };
    let removed = || -> Change<'_> { Box::new(|path| fs::remove_file(path).unwrap()) };
    let pipe = || -> Change<'_> {
        Box::new(|path| {
            fs::remove_file(path).unwrap();
            assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
        })
    };
    for (path, change, reason) in [
        (&last, replaced("\"changed\"", "\"unchanged\""), "is not the one that was stored"),
        (&last, replaced("{\n", "{ \n"), "is not the one that was stored"),
        (&last, removed(), "is missing"),
        (&last, pipe(), "a named pipe"),
        (&before, removed(), "is missing"),
        (&before, replaced("\"version\"", "\"versio\""), "is not the one that was stored"),
        (&key, removed(), "the key"),
        (
            &record,
            replaced("\"assurance\": \"host-rooted\"", "\"assurance\": \"attested\""),
            "the assurance in the record",
        ),
        (
            &record,
            replaced("\"host_key\": \"ssh-ed25519 AAAA", "\"host_key\": \"ssh-ed25519 BBBB"),
            "the host key in the record",
        ),
    ] {
        let aside = program.state().join("aside");
        fs::copy(path, &aside).unwrap();
        change(path);
        let refused = verify();
        let told = program.call(["doctor"], b"").output;
        fs::rename(&aside, path).unwrap();
        assert_eq!(refused.code, 5, "{reason}: {}", refused.output);
        assert!(refused.errors.contains(reason), "{reason}: {}", refused.errors);
        let seen = told.lines().any(|line| line.trim_start().starts_with("missing") && line.contains("evidence"));
        assert_eq!(seen, *path != record, "{reason}: {told}");
    }
    assert_eq!(verify().code, 0, "all of it is as it was");
}

/// Leaves a mark, and something in the boot head.
fn leave_a_mark(program: &Program) {
    let script = "echo mark > /root/mark; printf CM-EVIL | dd of=/dev/vda bs=1 conv=notrunc status=none; sync";
    let marked = program.call(["exec", MACHINE, "--", "sh", "-c", script], b"");
    assert_eq!(marked.code, 0, "{}", marked.errors);
}

/// Reimages and says strategy, tier and what the program told; the mark must be gone and the evidence good.
fn reimage(program: &Program, arguments: &[&str]) -> (String, String, String) {
    let called = program.call([&["reimage", MACHINE, "--output", "json"], arguments].concat(), b"");
    assert_eq!(called.code, 0, "{}", called.errors);
    let result: serde_json::Value = serde_json::from_str(&called.output).unwrap();
    let result = &result["value"]["machines"][0]["result"];
    let text = |key: &str| result[key].as_str().unwrap_or_else(|| panic!("no {key}: {result}")).to_owned();
    assert_eq!(text("assurance"), "host-rooted");
    let (strategy, tier) = (text("strategy"), text("tier"));
    assert_eq!(text("does_not_cover").contains("a sample"), matches!(tier.as_str(), "overlay" | "hinted"), "{result}");
    let read = program.call(["exec", MACHINE, "--", "test", "-e", "/root/mark"], b"");
    assert_eq!(read.code, 1, "the mark has to be gone: {}", read.errors);
    let verified = program.json(["verify", MACHINE]).unwrap();
    assert_eq!(verified["machines"][0]["result"]["tier"].as_str(), Some(tier.as_str()));
    (strategy, tier, called.errors)
}

fn done(strategy: &str, tier: &str) -> (String, String) {
    (strategy.to_owned(), tier.to_owned())
}

/// The map goes on through a stop and a start, so it names what either process wrote.
fn the_hosts_map_takes_back_what_was_done_since(program: &Program) {
    let planned = program.call(["plan", MACHINE], b"").output;
    assert!(planned.contains("hinted: ") && planned.contains("the map's ranges"), "{planned}");
    let (strategy, tier, said) = reimage(program, &["--strategy", "hinted"]);
    assert_eq!((strategy, tier), done("hinted", "hinted"), "{said}");
    assert!(said.contains("the map names "), "{said}");
}

fn a_map_of_a_killed_process_is_not_believed(program: &Program) {
    leave_a_mark(program);
    kill_machine(program);
    let (strategy, tier, said) = reimage(program, &["--strategy", "hinted"]);
    assert_eq!((strategy, tier), done("rewrite", "scan"), "{said}");
    assert!(said.contains("not hinted: the machine's process did not close the map, so it was killed"), "{said}");
}

fn a_fresh_overlay_is_a_reimage(program: &Program) {
    leave_a_mark(program);
    let (strategy, tier, said) = reimage(program, &["--strategy", "overlay"]);
    assert_eq!((strategy, tier), done("overlay", "overlay"), "{said}");
    assert!(said.contains("made, written and read back now"), "{said}");
    assert!(!machine_folder(program).join("disks/system.raw").exists(), "the raw file is given back");
    let shown = program.call(["show", MACHINE], b"").output;
    assert!(shown.contains("overlay on the golden disk of blake3:") && shown.contains("tier overlay"), "{shown}");

    leave_a_mark(program);
    for command in
        [["stop", MACHINE].as_slice(), &["start", MACHINE], &["exec", MACHINE, "--", "test", "-e", "/root/mark"]]
    {
        let called = program.call(command, b"");
        assert_eq!(called.code, 0, "{command:?}: {}", called.errors);
    }
    // By itself the program takes what is cheapest now.
    let (strategy, tier, said) = reimage(program, &[]);
    assert_eq!((strategy, tier), done("overlay", "overlay"), "{said}");
    assert!(said.contains("its file is unchanged since"), "{said}");
    assert!(said.contains("the overlay that is discarded holds "), "what the job wrote is told: {said}");
}

/// Nothing stands on a golden disk that is not the image; a machine can do without.
fn a_golden_disk_that_differs_is_refused(program: &Program) {
    let golden = std::fs::read_dir(program.state().join("golden")).unwrap().next().unwrap().unwrap().path();
    let file = OpenOptions::new().write(true).open(golden.join("disk.raw")).unwrap();
    let end = file.metadata().unwrap().len();
    file.write_all_at(b"evil", end - (40 << 20)).unwrap();
    let refused = program.call(["reimage", MACHINE, "--strategy", "overlay"], b"");
    assert_eq!(refused.code, 5, "{}", refused.errors);
    assert!(refused.errors.contains("differs from its image in 1 ranges"), "{}", refused.errors);
    assert!(refused.errors.contains(&format!("machines backed by it: {MACHINE}; ")), "{}", refused.errors);
    let (strategy, tier, said) = reimage(program, &[]);
    assert_eq!((strategy, tier), done("rewrite", "stream"), "{said}");
    assert!(said.contains("not overlay: the golden disk "), "{said}");
    std::fs::remove_dir_all(golden).unwrap();
}

fn weaker_evidence_is_refused(program: &Program) {
    let demanding = program.call(["verify", MACHINE, "--require-assurance", "attested"], b"");
    assert_eq!(demanding.code, 5, "{}", demanding.errors);
    let record = program.json(["show", MACHINE]).unwrap();
    let folder = PathBuf::from(record["folder"].as_str().unwrap());
    let report = folder.join(record["record"]["last_report"].as_str().unwrap());
    let text = std::fs::read_to_string(&report).unwrap();
    let nonce = text.rfind("\"nonce\": \"").unwrap() + 10;
    let mut forged = text.clone();
    forged.replace_range(nonce..nonce + 64, &"0".repeat(64));
    std::fs::write(&report, forged).unwrap();
    let refused = program.call(["verify", MACHINE], b"");
    assert_eq!(refused.code, 5, "{}", refused.errors);
    assert!(refused.errors.contains("is not the one that was stored"), "{}", refused.errors);
    std::fs::write(&report, text).unwrap();
}

/// An address and a drive give a machine keys to log in with, at its creation and at each reimage.
fn a_machine_reads_documents_of_its_own(program: &Program) {
    let keys = |owner: &str| {
        format!(
            "#cloud-config\nssh_authorized_keys: !append\n  - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE1lY2hhbmljYWwgZXhhbXBsZSBrZXkgMDAwMDAwMDAw {owner}\n"
        )
    };
    let folder = program.state().parent().unwrap().to_owned();
    let write = |name: &str, bytes: &[u8]| {
        std::fs::write(folder.join(name), bytes).unwrap();
        folder.join(name).to_string_lossy().into_owned()
    };
    let volume = |text: &str| volume::build(&[("user-data", text.as_bytes()), ("meta-data", b"")]).unwrap();
    let document = keys("of-url");
    let server = Server::start(Answer::Document(document.clone().into_bytes()));
    let url =
        format!("{{url: '{}?token=hunter2', sha256: '{}'}}", server.url(), volume::pin(document.as_bytes()).hex());
    let drive = write("own.img", &volume(&keys("of-drive")));
    let url = format!("cloud-init-url={url}");
    let create = |drive: &str| {
        let opened = "resources.nic.host-access=true";
        let arguments = ["create", "own", "--image", IMAGE, "--set", opened, "--set", &url, "--drive", drive];
        // What it reads is the same whatever becomes of its disk, and this is the cheapest.
        program.call([arguments.as_slice(), &["--strategy", "overlay", "--output", "json"]].concat(), b"")
    };
    let loosens = write("loose.img", &volume("cloud-machine: {disks-undeclared: ignore}"));
    let refused = create(&loosens);
    assert_eq!(refused.code, 3, "{}", refused.errors);
    assert!(refused.errors.contains("a safety key may only be tightened"), "{}", refused.errors);
    assert_eq!(program.call(["show", "own"], b"").code, 4, "nothing was made");

    let created = create(&drive);
    assert_eq!(created.code, 0, "{}", created.errors);
    let owners = || {
        let read = program.call(["exec", "own", "--", "cat", "/root/.ssh/authorized_keys"], b"");
        let owner = |line: &str| line.split(' ').nth(2).map(str::to_owned);
        read.output.lines().filter_map(owner).filter(|owner| owner.starts_with("of-")).collect::<Vec<_>>()
    };
    assert_eq!(owners(), ["of-url", "of-drive"]);
    assert_eq!(server.requests(), 1);
    a_job_finds_no_secret_of_an_address(program, &created.output);
    assert!(create(&drive).errors.contains("nothing to do"), "an equal machine is left alone");
    assert_eq!(create(&write("other.img", &volume("hostname: other"))).code, 3, "another drive is another machine");
    assert!(program.call(["show", "own"], b"").output.contains("own.img sha256:"));
    assert_eq!(program.call(["plan", "own"], b"").code, 0);

    // The record has its own copy of the drive.
    std::fs::remove_file(&drive).unwrap();
    let reimaged = program.call(["reimage", "own"], b"");
    assert_eq!(reimaged.code, 0, "{}", reimaged.errors);
    assert_eq!((owners(), server.requests()), (vec!["of-url".to_owned(), "of-drive".to_owned()], 2));
    drop(server);
    let down = program.call(["reimage", "own"], b"");
    assert_eq!(down.code, 1, "{}", down.errors);
    assert!(down.errors.contains("the document of cloud-init-url was not fetched"), "{}", down.errors);
    assert_eq!(program.call(["delete", "own", "--yes"], b"").code, 0);
}

/// The token of the address that machine `own` was made with is nowhere but in its record, and was told once. It has as many processors
/// as a machine has by itself, where the others have one.
fn a_job_finds_no_secret_of_an_address(program: &Program, created: &str) {
    let look = "cat /dev/disk/by-id/virtio-cm-volume /run/cloud-machine/report.json | grep -c hunter2; \
                timeout 2 cat /dev/virtio-ports/cloud-machine.agent.0 | wc -c; \
                grep -c machine.yaml /dev/disk/by-id/virtio-cm-volume; nproc";
    let found = program.call(["exec", "own", "--", "sh", "-c", look], b"");
    let counts: Vec<&str> = found.output.lines().collect();
    assert_eq!(counts.get(..2), Some(["0", "0"].as_slice()), "{}\n{}", found.output, found.errors);
    assert!(
        counts.len() == 4 && counts[2] != "0" && counts[3] == "2",
        "the place of the address is on the volume: {counts:?}"
    );
    let shown = program.call(["show", "own", "--output", "json"], b"").output;
    assert!(!created.contains("hunter2") && !shown.contains("hunter2") && shown.contains("machine.yaml"), "{shown}");
    let folder = program.state().join("machines/own");
    let files = std::process::Command::new("grep").args(["-rl", "--include=*.json", "hunter2"]).arg(&folder).output();
    let files = String::from_utf8(files.unwrap().stdout).unwrap();
    assert_eq!(files.trim_end(), folder.join("machine.json").display().to_string());
}

/// One bit of the packed image is wrong in a block that the machine needs.
fn a_corrupt_image_ends_in_quarantine(program: &Program) {
    let small = program.call(
        [
            "create",
            "small",
            "--image",
            IMAGE,
            "--set",
            "resources.disks.system={boot-partition: true, allocation: 128MiB}",
        ],
        b"",
    );
    assert_eq!(small.code, 3, "{}", small.errors);
    assert!(small.errors.contains("the image needs"), "{}", small.errors);

    let disk = machine_folder(program).join("disks/system.raw");
    assert_eq!(program.call(["stop", MACHINE, "--now"], b"").code, 0);
    // Every leaf differs from the image, so every one is fetched: a corrupt leaf that is not needed is no fault.
    let system = OpenOptions::new().write(true).open(disk).unwrap();
    let end = system.metadata().unwrap().len() - (4 << 20);
    for offset in (4 << 20..end).step_by(1 << 16) {
        system.write_all_at(&[0xa5; 4096], offset).unwrap();
    }
    // Nobody may have the disk open when it is reimaged.
    drop(system);
    let packed = program.state().join(format!("images/{IMAGE}/image.zst"));
    flip(&packed);
    for attempt in 1..=3 {
        let failed = program.call(["reimage", MACHINE], b"");
        assert_eq!(failed.code, 1, "attempt {attempt}: {}", failed.errors);
        assert!(failed.errors.contains("cannot reimage /dev/vda"), "{}", failed.errors);
    }
    assert_eq!(state(program), "quarantined");
    for command in ["start", "reimage"] {
        let refused = program.call([command, MACHINE], b"");
        assert_eq!(refused.code, 1, "{}", refused.errors);
        assert!(refused.errors.contains("quarantined") && refused.errors.contains("--release"), "{}", refused.errors);
    }
    flip(&packed);
    let released = program.call(["reimage", MACHINE, "--release"], b"");
    assert_eq!(released.code, 0, "{}", released.errors);
    assert_eq!(state(program), "running");
}

/// Flips one bit in a frame of data; twice is as before.
fn flip(packed: &Path) {
    let file = OpenOptions::new().read(true).write(true).open(packed).unwrap();
    let (mut byte, offset) = ([0], file.metadata().unwrap().len() / 3);
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], offset).unwrap();
}

pub(super) fn state(program: &Program) -> String {
    program.json(["show", MACHINE]).unwrap()["record"]["state"].as_str().unwrap().to_owned()
}

fn machine_folder(program: &Program) -> PathBuf {
    program.state().join("machines").join(MACHINE)
}

/// Whether the GPT header is where firmware looks for it.
fn has_boot_head(program: &Program) -> io::Result<bool> {
    let mut magic = [0; 8];
    File::open(machine_folder(program).join("disks/system.raw"))?.read_exact_at(&mut magic, 512)?;
    Ok(&magic == b"EFI PART")
}

fn kill_machine(program: &Program) {
    let mut attempts: Vec<PathBuf> =
        std::fs::read_dir(machine_folder(program).join("run")).unwrap().map(|entry| entry.unwrap().path()).collect();
    attempts.sort();
    let pid = std::fs::read_to_string(attempts.last().unwrap().join("pid")).unwrap();
    let command = std::fs::read(format!("/proc/{}/cmdline", pid.trim())).unwrap();
    let state = program.state().to_string_lossy().into_owned();
    assert!(String::from_utf8_lossy(&command).contains(&state), "only a machine of this test is killed");
    assert!(Command::new("kill").args(["-KILL", pid.trim()]).status().unwrap().success());
}

/// Looks again and again: the disk's bytes announce nothing.
fn wait_until(child: &mut Child, mut happened: impl FnMut() -> io::Result<bool>) {
    let deadline = Instant::now() + PATIENCE;
    while !happened().unwrap() {
        assert!(child.try_wait().unwrap().is_none(), "the program ended before it happened");
        assert!(Instant::now() < deadline, "it did not happen");
        thread::sleep(Duration::from_millis(5));
    }
}

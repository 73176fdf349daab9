//! Debian's own cloud-init in a machine, over its whole life: it applies what the layers say, once for each reimage, from the
//! one source that the agent wrote, whatever a job plants in the places where cloud-init looks for others.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use cloud_machine_tests::{
    apt,
    artifacts::{Artifacts, cloud_init_image},
    http::{Answer, Server},
    program::Program,
};
use cloud_machine_volume::write as volume;
use serde_json::Value;

use crate::{docker, rancher};

const MACHINE: &str = "cloudy";
const IMAGE: &str = "debian-12-cloud-init";
/// Two disks of a job's own beside a document as its users have them, and one that makes a program of it fail. `@` is
/// compressed text in base64.
const CONFIGURATION: &str = "\
#cloud-config
cloud-machine:
  image: debian-12-cloud-init
  resources:
    cpus: 1
    nic: {host-access: true}
    disks:
      system: {boot-partition: true}
      one: {allocation: 16MiB, on-reimage: keep}
      two: {allocation: 16MiB, on-reimage: keep}
      unlucky: {allocation: 1MiB, on-reimage: keep}
      vault: {allocation: 128MiB, filesystem: ext4, mountpoint: /vault}
hostname: web
users:
  - default
  - name: ada
    gecos: Ada Lovelace
    groups: [adm]
    shell: /bin/sh
    sudo: ALL=(ALL) NOPASSWD:ALL
    lock_passwd: false
    ssh_authorized_keys:
      - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFxkyP6Zpv3uoVQo0oWx3zJk8m0tqGm2Kc7gQ4XbWmJt ada
ssh_authorized_keys:
  - ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJr1bqk9nXo5wU7yP4vZf2cTgHs0mLd8eRk3aQx6YtNu team
ssh_deletekeys: true
growpart: {mode: auto, devices: [/]}
disk_setup:
  /dev/vdb: {table_type: gpt, layout: true, overwrite: true}
fs_setup:
  - {label: evil, filesystem: ext4, device: /dev/vdc, overwrite: true}
chpasswd:
  expire: false
  users: [{name: ada, password: $6$salt$hash, type: hash}]
write_files:
  - {path: /root/plain, content: \"plain\\n\", permissions: '0640', owner: 'root:adm'}
  - {path: /root/binary, content: !!binary AAH+/w==}
  - {path: /root/packed, content: 'PACKED', encoding: gz+b64}
  - {path: /root/job, content: 'JOB', encoding: gz+b64}
bootcmd:
  - cat /proc/sys/kernel/random/boot_id >>/root/boots
runcmd:
  - [cp, /var/lib/cloud/data/instance-id, /root/instance]
  - echo ran >>/root/runs
  - test \"$(head -c 4 /dev/vdd)\" = DONE || sh -e /root/job
apt:
  preserve_sources_list: false
  sources_list: deb [trusted=yes] SERVER ./
packages: [greeting]
mounts:
  - [/vault, /scratch, none, bind]
phone_home:
  url: SERVERdone
  post: [hostname, instance_id]
  tries: 2
timezone: Europe/Vienna
locale: de_DE@euro
ntp:
  ntp_client: systemd-timesyncd
  servers: [ntp.example]
";
/// A network as netplan has it, which cloud-init sets up long before it is done: nobody waits for the rest.
const NETWORKED: &str = "\
#cloud-config
cloud-machine:
  image: debian-12-cloud-init
  wait-for: [ssh]
  resources: {cpus: 1, nic: {mac: '52:54:00:77:00:01'}}
manage_etc_hosts: true
network:
  version: 2
  ethernets:
    main:
      match: {macaddress: '52:54:00:77:00:01'}
      dhcp4: true
      addresses: [192.0.2.77/24]
      nameservers: {search: [lab.example]}
";
/// One line for each thing that the documents ask for; each question is answered by the system itself.
const LOOK: &str = "
    cat /etc/hostname; getent hosts web
    getent passwd ada | cut -d: -f5,7
    id -nG ada
    getent shadow ada | cut -d: -f2
    grep -c 'ada$' /home/ada/.ssh/authorized_keys
    sudo -n -u ada sudo -n id -u
    grep -c 'team$' /home/debian/.ssh/authorized_keys
    stat -c '%a %U:%G' /root/plain; cat /root/plain
    od -An -tx1 /root/binary
    cat /root/packed
    readlink /etc/localtime
    . /etc/default/locale; echo $LANG; locale -a | grep -x de_DE@euro
    grep -rh '^NTP' /etc/systemd/timesyncd.conf.d
    cat /usr/share/greeting
    findmnt -no FSTYPE /scratch; findmnt -no FSTYPE /vault
    cat /root/of-url /root/of-drive
    wc -l </root/runs";
/// What firmware says of the machine, and what tells one instance of it from another.
const FIRMWARE: &str = "cd /sys/class/dmi/id; cat product_name product_serial";
const INSTANCE: &str = "cat /root/instance; cat /etc/ssh/ssh_host_*_key.pub | cut -d' ' -f1,2; wc -l </root/boots";
const SEEN: [&str; 22] = [
    "web",
    "127.0.1.1       cloudy web",
    "Ada Lovelace:/bin/sh",
    "ada adm",
    "$6$salt$hash",
    "1",
    "0",
    "1",
    "640 root:adm",
    "plain",
    "00 01 fe ff",
    "compressed",
    "/usr/share/zoneinfo/Europe/Vienna",
    "de_DE@euro",
    "de_DE@euro",
    "NTP=ntp.example",
    "from a package",
    "ext4",
    "ext4",
    "of url",
    "of drive",
    "1",
];
/// What a job does last.
const FAIL: &str = "printf DONE >/dev/vdd; sync; echo the last program had no luck; exit 1";
/// What a job leaves on its disks: a seed of NoCloud and a config drive, each complete and with a program to run.
const PLANT_DISKS: &str = "
    evil='#cloud-config\nruncmd: [touch /root/evil]\nbootcmd: [touch /root/evil]\n'
    mkfs.vfat -I -n cidata /dev/vdb >/dev/null; mount /dev/vdb /mnt
    printf \"$evil\" >/mnt/user-data; echo 'instance-id: evil' >/mnt/meta-data; umount /mnt
    mkfs.ext4 -q -F -L config-2 /dev/vdc; mount /dev/vdc /mnt; mkdir -p /mnt/openstack/latest
    printf \"$evil\" >/mnt/openstack/latest/user_data
    echo '{\"uuid\": \"evil\", \"hostname\": \"evil\"}' >/mnt/openstack/latest/meta_data.json; umount /mnt; sync";
/// What a job leaves in the root: other datasources that count last, programs for each boot, and a seed.
const PLANT_ROOT: &str = "
    printf 'datasource_list: [ConfigDrive, NoCloud]\nbootcmd: [touch /root/evil]\n' >/etc/cloud/cloud.cfg.d/zzz-evil.cfg
    printf 'policy: search,found=all\n' >/etc/cloud/ds-identify.cfg
    printf '#!/bin/sh\ntouch /root/evil\n' >/var/lib/cloud/scripts/per-boot/evil
    chmod +x /var/lib/cloud/scripts/per-boot/evil
    printf '#cloud-config\nruncmd: [touch /root/evil]\n' >/var/lib/cloud/seed/nocloud/user-data; sync";

/// What the image itself has beside the seed, and what its cloud-init remembers of a machine that it was on.
const LEFT_IN_IMAGE: [(&str, &str); 8] = [
    ("/var/lib/systemd/credential.secret", "one for all machines"),
    ("/etc/ssh/ssh_host_rsa_key", "one for all machines"),
    ("/var/lib/cloud/seed/nocloud/vendor-data", "#cloud-config\nbootcmd: [touch /root/evil]\n"),
    (
        "/var/lib/cloud/seed/nocloud/network-config",
        "version: 1\nconfig: [{type: nameserver, address: [192.0.2.1], search: [evil.example]}]\n",
    ),
    ("/var/lib/cloud/instances/old/manual-clean", ""),
    ("/var/lib/cloud/instances/old/obj.pkl", "no pickle"),
    ("/var/lib/cloud/data/instance-id", "old\n"),
    ("/var/lib/cloud/sem/config_scripts_per_once.once", ""),
];
/// The partition of the root on the image's disk, in bytes.
const ROOT_AT: u64 = 198_656 * 512;

/// phone_home of cloud-init 22.4 complains of each kind of host key that a machine has not, whatever it is to send.
const KEYS: &str = "/etc/ssh/ssh_host_[a-z]*_key.pub: failed to open, can not phone home that data!$";

#[test]
fn what_cloud_init_is_handed_is_applied_once_for_each_reimage_and_nothing_else_is() {
    let artifacts = Artifacts::from_environment().unwrap();
    let tools = tempfile::tempdir().unwrap();
    let path = format!("{}:{}", tools.path().display(), std::env::var("PATH").unwrap());
    let program = Program::new(&artifacts).with("PATH", path);
    program.pack_folder(&image_that_was_used(&program), IMAGE, &[]).unwrap();
    let mut files = apt::repository("greeting", "from a package\n");
    files.insert("/evil/user-data".to_owned(), b"#cloud-config\nbootcmd: [touch /root/evil]\n".to_vec());
    files.insert("/evil/meta-data".to_owned(), b"instance-id: evil\n".to_vec());
    let server = Server::start(Answer::Files(files));
    firmware_names_another_source(tools.path(), &server);
    let called_home = || server.posts().pop().expect("a call home");
    let home = |id: &str| format!("hostname={MACHINE}&instance_id={id}");

    // What cloud-init cannot do is no machine, and its words say why; the next start begins anew, and finds nothing of the job.
    create_with_a_job_that_fails(&program, &server);
    let failed = called_home();
    assert!(failed.starts_with(&home("")), "{failed}");
    program.done(&["start", MACHINE]);
    let first = everything_is_done(&program);
    assert_eq!((called_home(), server.posts().len()), (home(&first.id), 2));
    assert_ne!(home(&first.id), failed, "to cloud-init it is another machine");
    assert_eq!(first.boots, 1);
    let planted = inside(&program, "blkid -s LABEL -o value /dev/vdb /dev/vdc");
    assert_eq!(planted, "cidata\nconfig-2\n", "the disks of the job are still there");
    cloud_init_finds_no_fault_in_what_it_was_handed(&program);
    docker::is_as_described_and_holds_nothing_of_a_job(&program, MACHINE);
    rancher::is_an_agent_with_a_token_for_root_alone(&program, MACHINE);
    let verified = program.json(["verify", MACHINE]).unwrap()["machines"][0]["result"]["checked"].to_string();
    assert!(verified.contains("the host name is what the configuration makes of it"), "{verified}");

    // Nothing is new to a machine that is only started, and disks of a job are no source.
    program.done(&["stop", MACHINE]);
    program.done(&["start", MACHINE]);
    let second = everything_is_done(&program);
    assert_eq!((&second.id, &second.host_key), (&first.id, &first.host_key));
    assert_eq!(second.boots, 2, "what is for each boot ran at each");
    assert_eq!(server.posts().len(), 2, "and nothing else did");
    program.done(&["delete", MACHINE, "--yes"]);
    fs::remove_file(tools.path().join("qemu-system-x86_64")).unwrap();
    a_network_that_is_described_as_for_cloud_init_is_set_up_by_it(&program);
}

/// By Debian's cloud-init, which hands it to systemd-networkd. Nothing that the agent writes counts beside it.
fn a_network_that_is_described_as_for_cloud_init_is_set_up_by_it(program: &Program) {
    let file = program.state().parent().unwrap().join("networked.yaml");
    fs::write(&file, NETWORKED).unwrap();
    // As at the first one.
    program.done(&["create", MACHINE, "--strategy", "overlay", "--config", &file.to_string_lossy()]);
    let script = "getent hosts cloudy; ip -4 -o address show scope global | grep -o 'inet [^ ]*' | sort
                  cat /etc/systemd/network/10-cloud-init-*.network | grep -E '^(MACAddress|Address|DHCP|Domains)=' | sort
                  ls /etc/systemd/network | grep -v 10-cloud-init- || true";
    let found = inside(program, script);
    let expected = "127.0.1.1       cloudy cloudy\ninet 10.0.2.15/24\ninet 192.0.2.77/24\nAddress=192.0.2.77/24\nDHCP=ipv4\n\
                    Domains=lab.example\nMACAddress=52:54:00:77:00:01\n";
    assert_eq!(found, expected);
    program.done(&["delete", MACHINE, "--yes"]);
}

/// A QEMU whose firmware tells systems what would make them look for a seed at an address, and for OpenStack's.
fn firmware_names_another_source(tools: &Path, server: &Server) {
    let serial = format!("ds=nocloud-net;s={}evil/", server.root());
    let file = tools.join("qemu-system-x86_64");
    let text =
        "#!/bin/sh\nexec /usr/bin/qemu-system-x86_64 \"$@\" -smbios 'type=1,product=OpenStack Compute,serial=SERIAL'\n";
    fs::write(&file, text.replace("SERIAL", &serial)).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
}

/// The recipe's image with what one holds that was packed from a machine.
fn image_that_was_used(program: &Program) -> PathBuf {
    let (from, folder) = (cloud_init_image().unwrap(), program.state().parent().unwrap().join("used"));
    fs::create_dir(&folder).unwrap();
    let disk = folder.join("disk.raw");
    let copied = Command::new("cp").arg("--sparse=always").arg(from.join("disk.raw")).arg(&disk).status().unwrap();
    assert!(copied.success());
    for name in ["kernel", "modules", "programs"] {
        std::os::unix::fs::symlink(from.join(name), folder.join(name)).unwrap();
    }
    let mut commands = String::new();
    for (index, (path, content)) in LEFT_IN_IMAGE.iter().chain(&rancher::IN_IMAGE).enumerate() {
        let file = folder.join(index.to_string());
        fs::write(&file, content).unwrap();
        let folders = path.match_indices('/').skip(1).map(|(end, _)| format!("mkdir {}\n", &path[..end]));
        // A folder that is there stays as it is, with a complaint.
        commands.extend(folders);
        commands.push_str(&format!("write {} {path}\n", file.display()));
    }
    commands.push_str("symlink /var/lib/cloud/instance /var/lib/cloud/instances/old\n");
    let (link, target) = rancher::LINK_IN_IMAGE;
    commands.push_str(&format!("symlink {link} {target}\n"));
    let script = folder.join("commands");
    fs::write(&script, commands).unwrap();
    let debugfs = |arguments: &[&std::ffi::OsStr]| {
        let at = format!("{}?offset={ROOT_AT}", disk.display());
        let output = Command::new("debugfs").args(arguments).arg(at).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    debugfs(&["-w".as_ref(), "-f".as_ref(), script.as_os_str()]);
    let listed = debugfs(&["-R".as_ref(), "ls -p /var/lib/cloud/instances/old".as_ref()]);
    assert!(listed.contains("obj.pkl"), "the image holds what was planted: {listed}");
    folder
}

/// With a document of each layer that the machine reads for itself.
fn create_with_a_job_that_fails(program: &Program, server: &Server) {
    let folder = program.state().parent().unwrap().to_owned();
    let write = |name: &str, bytes: &[u8]| {
        fs::write(folder.join(name), bytes).unwrap();
        folder.join(name).to_string_lossy().into_owned()
    };
    let added = |name: &str| {
        format!("write_files: !append\n  - {{path: /root/of-{name}, content: \"of {name}\\n\"}}\n").into_bytes()
    };
    let job = [PLANT_DISKS, PLANT_ROOT, docker::LEAVE, FAIL].join("\n");
    let config = CONFIGURATION.replace("PACKED", &packed("compressed\n")).replace("JOB", &packed(&job));
    let config = config.replace("SERVER", &server.root());
    let config = config + docker::SETTINGS + rancher::SETTINGS;
    let config = write("cloudy.yaml", config.as_bytes());
    let url = format!("cloud-init-url=file://{}", write("url.yaml", &added("url")));
    let drive = write("drive.img", &volume::build(&[("user-data", &added("drive")), ("meta-data", b"")]).unwrap());
    // The system disk is no matter of this test: by itself each later one is an overlay, too.
    let way = ["create", MACHINE, "--strategy", "overlay"];
    let documents = ["--config", &config, "--set", &url, "--drive", &drive];
    let created = program.call(way.into_iter().chain(documents), b"");
    assert_eq!(created.code, 1, "{}", created.errors);
    for words in ["cloud-init in machine cloudy did not end well", "scripts-user", "the last program had no luck"] {
        assert!(created.errors.contains(words), "{words}: {}", created.errors);
    }
    assert_eq!(program.json(["show", MACHINE]).unwrap()["record"]["state"], "failed");
    for key in ["ssh_deletekeys", "growpart.mode", "disk_setup", "fs_setup"] {
        assert!(
            created.errors.lines().any(|line| line.contains(key) && line.contains(" is ignored: ")),
            "{}",
            created.errors
        );
    }
}

/// `text` as gzip and base64 write it.
fn packed(text: &str) -> String {
    let output = Command::new("sh").args(["-c", "printf '%s' \"$0\" | gzip -n | base64 -w0", text]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// cloud-init has ended without a complaint, which the operation waited for; everything is as described, and nothing of a
/// job's was executed. One login for all: each takes a second in software emulation.
fn everything_is_done(program: &Program) -> Instance {
    let nothing = "test ! -e /root/evil; test ! -e /var/lib/cloud/instances/old; test -z \"$(grep -rl 192.0.2.1 /etc /run/systemd)\"
                   test -z \"$(grep -lx 'one for all machines' /var/lib/systemd/credential.secret /etc/ssh/* 2>&-)\"";
    let complaints = format!("grep -e WARNING -e ERROR /var/log/cloud-init.log | grep -v '{KEYS}' || true");
    let parts = ["cat /run/cloud-init/result.json", FIRMWARE, INSTANCE, &format!("{complaints}; {nothing}; {LOOK}")];
    let said = inside(program, &parts.join("\necho ==\n"));
    let parts: Vec<&str> = said.split("==\n").collect();
    let [result, firmware, instance, seen] = parts[..] else { panic!("{said}") };
    let result: Value = serde_json::from_str(result).unwrap();
    assert_eq!(result["v1"]["errors"], Value::Array(Vec::new()), "{said}");
    let source = result["v1"]["datasource"].as_str().unwrap();
    assert!(source.starts_with("DataSourceNoCloud [seed=") && !source.contains("/dev/"), "{source}");
    assert!(firmware.starts_with("OpenStack Compute\nds=nocloud-net;s=http://10.0.2.2:"), "{firmware}");
    let seen: Vec<&str> = seen.lines().map(str::trim).collect();
    assert_eq!(seen, SEEN);
    Instance::of(program, instance)
}

fn cloud_init_finds_no_fault_in_what_it_was_handed(program: &Program) {
    let said = inside(program, "cloud-init status --long; cloud-init schema --system 2>&1");
    assert!(said.contains("status: done") && said.contains("Valid cloud-config"), "{said}");
}

/// What cloud-init and the host know the system by.
struct Instance {
    id: String,
    host_key: String,
    boots: usize,
}

impl Instance {
    /// From what [`INSTANCE`] printed. The host key is the only one, and the one that the report told, since the host logs in by it.
    fn of(program: &Program, said: &str) -> Self {
        let lines: Vec<&str> = said.lines().collect();
        let [id, host_key, boots] = lines[..] else { panic!("{said}") };
        let report = program.json(["show", MACHINE]).unwrap()["record"]["host_key"].clone();
        assert!(report.as_str().is_some_and(|key| key.starts_with(host_key)), "{report}: {host_key}");
        Self { id: id.to_owned(), host_key: host_key.to_owned(), boots: boots.trim().parse().unwrap() }
    }
}

fn inside(program: &Program, script: &str) -> String {
    program.done(&["exec", MACHINE, "--", "sh", "-ec", script])
}

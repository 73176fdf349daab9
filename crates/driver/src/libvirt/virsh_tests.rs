use super::*;
use crate::libvirt::stand_in::StandIn;

const OURS: &str = "7f0b7d6e-58c1-4b8e-9a6e-0c2f8f3ad111";
const XML: &str =
    "<domain id='1'><metadata><c:machine xmlns:c='urn:cloud-machine:domain:1' name='demo'/></metadata></domain>";

fn demo() -> MachineName {
    "demo".parse().unwrap()
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

#[test]
fn only_an_answer_without_it_says_that_there_is_no_domain() {
    let none = StandIn::new("printf '\\n'");
    assert_eq!(none.virsh().domain(OURS, &demo()).unwrap(), None);
    assert_eq!(none.read("asked"), "list --all --uuid --name\n");
    let there = StandIn::new(&format!("case $1 in list) echo {};; *) echo \"{XML}\";; esac", OURS.to_uppercase()));
    assert_eq!(there.virsh().domain(OURS, &demo()).unwrap(), Some(Domain { active: true, ours: true }));
    // What is no answer is none.
    for (script, expected) in [
        (
            "echo 'error: failed to connect to the hypervisor' >&2; echo 'error: no socket' >&2; exit 1",
            "cannot reach libvirt at qemu:///system: failed to connect to the hypervisor; no socket",
        ),
        ("echo 'error: other' >&2; exit 1", "cannot list the domains: libvirt says: other"),
        ("exit 1", "cannot list the domains: libvirt says: "),
        ("echo 'Id Name State'", "cannot list the domains: virsh printed what it should not: Id Name State"),
        ("printf '\\377'", "cannot list the domains: virsh printed what it should not: \\xff"),
    ] {
        assert_eq!(StandIn::new(script).virsh().domain(OURS, &demo()).unwrap_err().to_string(), expected);
    }
}

#[test]
fn a_domain_whose_name_is_the_uuid_of_a_machine_is_never_touched() {
    let other = "11111111-2222-3333-4444-555555555555";
    for lines in [format!("{other} {}", OURS.to_uppercase()), format!("{OURS} demo\n{other} {OURS}")] {
        let stand_in = StandIn::new("cat lines");
        stand_in.write("lines", &lines);
        let error = stand_in.virsh().domain(OURS, &demo()).unwrap_err();
        assert!(error.to_string().contains("whose name is the UUID"), "{error}");
        assert_eq!(stand_in.read("asked"), "list --all --uuid --name\n", "nothing but the list was asked for");
    }
}

#[test]
fn a_domain_that_ends_while_it_is_looked_at_is_gone_and_one_that_stays_is_not() {
    let script = |second: &str| {
        format!(
            "case $1 in list) if [ -e looked ]; then {second}; else echo {OURS}; fi;; *) touch looked; echo 'error: x' >&2; exit 1;; esac"
        )
    };
    assert_eq!(StandIn::new(&script("true")).virsh().domain(OURS, &demo()).unwrap(), None);
    let error = StandIn::new(&script(&format!("echo {OURS}"))).virsh().domain(OURS, &demo()).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot read the domain {OURS}: libvirt says: x"));
    let error = StandIn::new(&script("exit 1")).virsh().domain(OURS, &demo()).unwrap_err();
    assert!(error.to_string().starts_with("cannot list the domains"), "{error}");
}

#[test]
fn a_refusal_is_told_by_the_words_that_a_real_libvirt_has_for_it() {
    let port = "error: Failed to create domain from /x/domain.xml\nerror: internal error: qemu unexpectedly closed the monitor: \
        2026-11-28T22:09:59.861954Z qemu-system-x86_64: -netdev user,id=net0,hostfwd=tcp:127.0.0.1:45022-:22: \
        Could not set up host forwarding rule 'tcp:127.0.0.1:45022-:22'";
    let name = "error: Failed to create domain from /x/domain.xml\nerror: operation failed: domain 'cloud-machine-x' \
        already exists with uuid 11111111-2222-3333-4444-555555555555";
    for (words, port_taken, name_taken) in [(port, true, false), (name, false, true), ("error: other", false, false)] {
        let stand_in = StandIn::new("cat words >&2; exit 1");
        stand_in.write("words", words);
        let error = stand_in.virsh().create(Path::new("/x/domain.xml"), soon()).unwrap_err();
        let refusal = error.refusal().unwrap();
        assert_eq!((refusal.is_port_taken(), refusal.is_name_taken()), (port_taken, name_taken), "{error}");
        assert!(!error.to_string().contains("domain.xml"), "{error}");
        assert_eq!(stand_in.read("asked"), "create --paused --file /x/domain.xml\n");
    }
}

#[test]
fn nothing_of_an_operators_session_reaches_virsh() {
    let stand_in = StandIn::new("true");
    assert!(stand_in.virsh().uuids().unwrap().is_empty());
    let environment = stand_in.read("environment");
    let names = environment.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name);
    // The shell's own.
    let mut names: Vec<&str> = names.filter(|name| !matches!(*name, "PWD" | "OLDPWD" | "SHLVL" | "_")).collect();
    names.retain(|name| !ENVIRONMENT.contains(name));
    assert_eq!(names, ["LC_ALL"]);
    let missing = Virsh::new(OsStr::new("/nonexistent/virsh"), stand_in.virsh().connection);
    let error = missing.uuids().unwrap_err();
    assert!(error.is_missing() && error.to_string() == "cannot run /nonexistent/virsh", "{error}");
}

#[test]
fn states_and_errors_of_disks_are_read() {
    let of = |word: &str, reason: &str| Some(State { word: word.to_owned(), reason: reason.to_owned() });
    assert_eq!(state("paused (I/O error)\n\n"), of("paused", "I/O error"));
    assert_eq!(state("in shutdown (unknown)\n"), of("in shutdown", "unknown"));
    assert_eq!(state("running\n"), of("running", ""));
    assert_eq!(state("\n"), None);
    assert_eq!(state("paused (x"), None);
    for (said, expected) in
        [("vda: no space\n\n", true), ("vda: unspecified error\n", false), ("No errors found\n", false), ("", false)]
    {
        let stand_in = StandIn::new("cat said");
        stand_in.write("said", said);
        assert_eq!(stand_in.virsh().has_no_space(OURS, soon()).unwrap(), expected, "{said}");
    }
}

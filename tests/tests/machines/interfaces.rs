//! The further network interfaces of a machine that is on [`cloud_machine_tests::bridge::Bridged`], as its system has them.

use cloud_machine_tests::{bridge::VLAN, program::Program};

/// What a person looks at: names with their addresses, and the ways out; then the host is asked for in the VLAN.
const LOOK: &str = "\
cd /sys/class/net; cat backup/address storage/address; cat storage/mtu
ip -4 -o address show dev backup | grep -o '10.80[^ ]*/24'
ip -4 -o address show dev storage.7 | grep -o '10.79[^ ]*/24'
ip -4 -o address show dev storage
ip -4 route show default | cut -d ' ' -f 3
bash -c 'echo > /dev/udp/HOST/9'; sleep 1; ip neighbour show HOST dev storage.7 | grep -o 'lladdr [0-9a-f:]*'
";

/// Hardware addresses of `backup` and `storage`, and the address that the DHCP server gave the former.
pub(crate) fn further(program: &Program, machine: &str) -> [String; 3] {
    let script = LOOK.replace("HOST", VLAN.1);
    let found = program.done(&["exec", machine, "--", "sh", "-ec", &script]);
    let lines: Vec<&str> = found.lines().collect();
    let [backup, storage, mtu, leased, fixed, out, neighbour] = lines.as_slice() else { panic!("{found}") };
    assert!(backup.starts_with("52:54:00:") && storage.starts_with("52:54:00:") && backup != storage, "{found}");
    assert_eq!((*mtu, *fixed), ("1400", "10.79.0.7/24"));
    // The DHCP server of the other bridge names a router as well.
    assert_eq!(*out, "10.78.0.1");
    assert!(neighbour.starts_with("lladdr ") && leased.starts_with("10.80.0."), "{found}");
    [(*backup).to_owned(), (*storage).to_owned(), (*leased).to_owned()]
}

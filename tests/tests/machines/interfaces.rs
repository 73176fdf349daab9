//! The further network interfaces of a machine that is on [`cloud_machine_tests::bridge::Bridged`], as its system has them.

use cloud_machine_tests::{bridge::OTHER_HOST, program::Program};

/// What a person looks at: names with their addresses, and the ways out; then the host is asked for on the other bridge.
const LOOK: &str = "\
cd /sys/class/net; cat backup/address storage/address tagged/address; cat storage/mtu
ip -4 -o address show dev backup | grep -o '10.80[^ ]*/24'
ip -4 -o address show dev storage | grep -o '10.79[^ ]*/24'
ip -4 -o address show dev tagged.7 | grep -o '10.82[^ ]*/24'
ip -4 -o address show dev tagged
ip -d -o link show dev tagged.7 | grep -o 'vlan protocol 802.1Q id [0-9]*'
ip -4 route show default | cut -d ' ' -f 3
ip -4 route show 10.81.0.0/16 | cut -d ' ' -f 3,5
bash -c 'echo > /dev/udp/HOST/9'
neighbour() { ip neighbour show HOST dev storage | grep -o 'lladdr [0-9a-f:]*'; }
for try in $(seq 100); do neighbour && exit; sleep 0.1; done; exit 1
";

/// Hardware addresses of `backup`, `storage` and `tagged`, and the address that the DHCP server gave the first.
pub(crate) fn further(program: &Program, machine: &str) -> [String; 4] {
    let script = LOOK.replace("HOST", OTHER_HOST);
    let found = program.done(&["exec", machine, "--", "sh", "-ec", &script]);
    let lines: Vec<&str> = found.lines().collect();
    let [backup, storage, tagged, mtu, leased, rest @ ..] = lines.as_slice() else { panic!("{found}") };
    let macs = [backup, storage, tagged];
    assert!(macs.iter().all(|mac| mac.starts_with("52:54:00:")) && backup != storage && storage != tagged, "{found}");
    assert!(*mtu == "1400" && leased.starts_with("10.80.0."), "{found}");
    // The DHCP server of the other bridge names a router as well.
    let expected =
        ["10.79.0.7/24", "10.82.0.7/24", "vlan protocol 802.1Q id 7", "10.78.0.1", &format!("{OTHER_HOST} storage")];
    let (last, known) = rest.split_last().expect("a neighbour");
    assert_eq!(known, expected, "{found}");
    assert!(last.starts_with("lladdr "), "{found}");
    [backup, storage, tagged, leased].map(|text| (*text).to_owned())
}

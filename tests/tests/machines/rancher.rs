//! What an agent of k3s finds in a machine that another test has started. Its program is a stand-in that only stays: no test has the
//! real one. Must not start a machine.

use cloud_machine_tests::program::Program;

pub(super) const SETTINGS: &str = "
rancher:
  k3s:
    role: agent
    server: https://server.example:6443
    token: hunter2-of-the-cluster
    node-label: [role=ci]
";
/// The program, which is told nothing on its command line, and both units, of which the image itself starts the other one.
pub(super) const IN_IMAGE: [(&str, &str); 3] = [
    ("/usr/local/bin/k3s", "#!/bin/sh\nexec sleep infinity\n"),
    ("/etc/systemd/system/k3s-agent.service", "[Service]\nExecStart=/bin/sh /usr/local/bin/k3s agent\n"),
    ("/etc/systemd/system/k3s.service", "[Service]\nExecStart=/bin/sh /usr/local/bin/k3s server\n"),
];
pub(super) const LINK_IN_IMAGE: (&str, &str) =
    ("/etc/systemd/system/multi-user.target.wants/k3s.service", "/etc/systemd/system/k3s.service");

const LOOK: &str = "
    systemctl is-active k3s-agent.service k3s.service || true
    stat -c '%a %U' /etc/rancher/k3s/config.yaml
    cat /etc/rancher/k3s/config.yaml
    sudo -u nobody cat /etc/rancher/k3s/config.yaml || echo closed
    tr '\\0' ' ' </proc/$(systemctl show -P MainPID k3s-agent)/cmdline";
const SEEN: [&str; 9] = [
    "active",
    "inactive",
    "600 root",
    "node-label:",
    "  - \"role=ci\"",
    "server: \"https://server.example:6443\"",
    "token: \"hunter2-of-the-cluster\"",
    "closed",
    "sleep infinity ",
];

/// The part that was asked for runs, the other does not, and its token is shown nowhere.
pub(super) fn is_an_agent_with_a_token_for_root_alone(program: &Program, machine: &str) {
    let seen = program.done(&["exec", machine, "--", "sh", "-ec", LOOK]);
    let seen: Vec<&str> = seen.lines().collect();
    assert_eq!(seen, SEEN);
    for arguments in [&["show", machine][..], &["list"], &["logs", machine, "--lines", "0"]] {
        let called = program.call(arguments, b"");
        assert_eq!(called.code, 0, "{}", called.errors);
        assert!(!format!("{}{}", called.output, called.errors).contains("hunter2"), "{arguments:?}");
    }
}

//! Debian's own docker in a machine that another test has started: it is what `docker.engine` says and starts containers, and a
//! reimage leaves nothing of those. Must not start a machine.

use cloud_machine_tests::program::Program;

/// Settings, one of each form, a folder on a disk that a reimage wipes, and an environment with what shells and systemd would
/// read otherwise.
pub(super) const SETTINGS: &str = "
docker:
  engine:
    labels: [role=ci, rack=7]
    storage-driver: overlay2
    data-root: /vault/docker
    log-driver: json-file
    log-opts: {max-size: 1m, max-file: \"2\"}
    default-address-pools: [{base: 10.203.0.0/16, size: 24}]
    registry-mirrors: [\"https://mirror.example\"]
    insecure-registries: [\"registry.example:5000\"]
    env:
      HTTPS_PROXY: http://ada:p%40$w@proxy.example:3128
      NOTE: it's \"50%\" `of` \\ ${HOME}
";
/// Each line is the answer of docker, or of what runs it, to one question. The image is the system's own shell and what that loads.
const LOOK: &str = r#"
    echo "left: $(docker ps -aq; docker images -q)"
    docker info --format '{{join .Labels "\n"}}' | sort
    docker info --format '{{.Driver}} in {{.DockerRootDir}}
{{json .DefaultAddressPools}}
{{json .RegistryConfig.Mirrors}}
secure: {{(index .RegistryConfig.IndexConfigs "registry.example:5000").Secure}}'
    docker network inspect bridge --format '{{(index .IPAM.Config 0).Subnet}}'
    tr '\0' '\n' </proc/$(systemctl show -P MainPID docker)/environ | grep -e ^HTTPS_PROXY= -e ^NOTE=
    stat -c %a /etc/docker/cloud-machine.env
    sudo -u nobody systemctl show docker | grep -e cloud-machine.env -e ada -e 50%
    tar -ch -C / bin/sh lib/x86_64-linux-gnu/libc.so.6 lib64/ld-linux-x86-64.so.2 | docker import --message job - job >/dev/null
    docker run --name job job /bin/sh -c '{ read -r _; read -r device _; } </proc/net/route; echo from a container with $device'
    docker logs job
    docker inspect job --format '{{json .HostConfig.LogConfig}} {{.AppArmorProfile}}'
    docker images --format '{{.Repository}}'"#;
/// What a job leaves there: an image and a container.
pub(super) const LEAVE: &str = "
    tar -ch -C / bin/sh lib/x86_64-linux-gnu/libc.so.6 lib64/ld-linux-x86-64.so.2 | docker import - left >/dev/null
    docker run --name left left /bin/sh -c 'echo a job was here'";
const SEEN: [&str; 17] = [
    "left: ",
    "rack=7",
    "role=ci",
    "overlay2 in /vault/docker",
    r#"[{"Base":"10.203.0.0/16","Size":24}]"#,
    r#"["https://mirror.example/"]"#,
    "secure: false",
    "10.203.0.0/24",
    "HTTPS_PROXY=http://ada:p%40$w@proxy.example:3128",
    r#"NOTE=it's "50%" `of` \ ${HOME}"#,
    "600",
    "EnvironmentFiles=/etc/docker/cloud-machine.env (ignore_errors=no)",
    "from a container with eth0",
    "from a container with eth0",
    r#"{"Type":"json-file","Config":{"max-file":"2","max-size":"1m"}} docker-default"#,
    "job",
    "",
];

/// Of a machine with [`SETTINGS`] in which no container was started since its last reimage.
pub(super) fn is_as_described_and_holds_nothing_of_a_job(program: &Program, machine: &str) {
    let seen = program.done(&["exec", machine, "--", "sh", "-ec", LOOK]);
    let seen: Vec<&str> = seen.split('\n').collect();
    assert_eq!(seen, SEEN);
}

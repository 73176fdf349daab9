//! What k3s and rke2 take for the keys of their config.yaml that are known here, for checks and for editors alike. Must not read
//! a document; a key that is in no table is not wrong.

use crate::settings::Kind::{self, Flag, Text, Texts, Whole};

/// Key that is none of config.yaml: which of the program's two parts the machine is.
pub(crate) const ROLE: &str = "role";

/// Values of that.
pub(crate) const ROLES: &str = "server or agent";

/// Keys of both parts, sorted.
pub(crate) const BOTH: &[(&str, Kind)] = &[
    ("alsologtostderr", Flag),
    ("container-runtime-endpoint", Text),
    ("data-dir", Text),
    ("debug", Flag),
    ("default-runtime", Text),
    ("disable-default-registry-endpoint", Flag),
    ("image-credential-provider-bin-dir", Text),
    ("image-credential-provider-config", Text),
    ("kube-proxy-arg", Texts),
    ("kubelet-arg", Texts),
    ("lb-server-port", Whole),
    ("log", Text),
    ("node-external-ip", Texts),
    ("node-ip", Texts),
    ("node-label", Texts),
    ("node-name", Text),
    ("node-taint", Texts),
    ("pause-image", Text),
    ("private-registry", Text),
    ("protect-kernel-defaults", Flag),
    ("resolv-conf", Text),
    ("selinux", Flag),
    ("server", Text),
    ("snapshotter", Text),
    ("token", Text),
    ("token-file", Text),
    ("v", Whole),
    ("vmodule", Text),
    ("with-node-id", Flag),
];

/// Keys of a server alone, sorted.
pub(crate) const SERVER: &[(&str, Kind)] = &[
    ("advertise-address", Text),
    ("advertise-port", Whole),
    ("agent-token", Text),
    ("agent-token-file", Text),
    ("bind-address", Text),
    ("cluster-cidr", Texts),
    ("cluster-dns", Texts),
    ("cluster-domain", Text),
    ("cluster-init", Flag),
    ("cluster-reset", Flag),
    ("cluster-reset-restore-path", Text),
    ("cni", Texts),
    ("datastore-cafile", Text),
    ("datastore-certfile", Text),
    ("datastore-endpoint", Text),
    ("datastore-keyfile", Text),
    ("default-local-storage-path", Text),
    ("disable", Texts),
    ("disable-cloud-controller", Flag),
    ("disable-helm-controller", Flag),
    ("disable-kube-proxy", Flag),
    ("disable-network-policy", Flag),
    ("disable-scheduler", Flag),
    ("egress-selector-mode", Text),
    ("embedded-registry", Flag),
    ("etcd-arg", Texts),
    ("etcd-disable-snapshots", Flag),
    ("etcd-expose-metrics", Flag),
    ("etcd-s3", Flag),
    ("etcd-s3-access-key", Text),
    ("etcd-s3-bucket", Text),
    ("etcd-s3-endpoint", Text),
    ("etcd-s3-folder", Text),
    ("etcd-s3-region", Text),
    ("etcd-s3-secret-key", Text),
    ("etcd-snapshot-compress", Flag),
    ("etcd-snapshot-dir", Text),
    ("etcd-snapshot-name", Text),
    ("etcd-snapshot-retention", Whole),
    ("etcd-snapshot-schedule-cron", Text),
    ("flannel-backend", Text),
    ("flannel-external-ip", Flag),
    ("flannel-ipv6-masq", Flag),
    ("https-listen-port", Whole),
    ("kube-apiserver-arg", Texts),
    ("kube-cloud-controller-manager-arg", Texts),
    ("kube-controller-manager-arg", Texts),
    ("kube-scheduler-arg", Texts),
    ("secrets-encryption", Flag),
    ("service-cidr", Texts),
    ("service-node-port-range", Text),
    ("servicelb-namespace", Text),
    ("tls-san", Texts),
    ("tls-san-security", Flag),
    ("write-kubeconfig", Text),
    ("write-kubeconfig-group", Text),
    ("write-kubeconfig-mode", Text),
];

/// Short names of k3s and rke2. They are refused: what stands below `t` would be no secret to anybody who looks for tokens.
pub(crate) const SHORT: &[(&str, &str)] = &[
    ("c", "config"),
    ("d", "data-dir"),
    ("i", "node-ip"),
    ("l", "log"),
    ("o", "write-kubeconfig"),
    ("s", "server"),
    ("t", "token"),
];

/// The kind of the key `name`, if it is known, and whether only a server has it.
pub(crate) fn kind(name: &str) -> Option<(&'static Kind, bool)> {
    let find = |keys: &'static [(&str, Kind)]| keys.iter().find(|(known, _)| *known == name).map(|(_, kind)| kind);
    find(BOTH).map(|kind| (kind, false)).or_else(|| find(SERVER).map(|kind| (kind, true)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_is_there_once_in_order() {
        for keys in [BOTH, SERVER] {
            assert!(keys.windows(2).all(|pair| pair[0].0 < pair[1].0));
        }
        assert!(BOTH.iter().all(|(name, _)| !SERVER.iter().any(|(other, _)| name == other)));
        assert!(kind(ROLE).is_none());
    }
}

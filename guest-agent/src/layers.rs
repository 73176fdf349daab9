//! The layers of configuration as the machine merges them: the host's, then the two that only the machine can read.
//! Owns their order; must not read a device or an address itself.

use cloud_machine_config::{Config, Document, Merged, defaults, matches, merge, validate};
use cloud_machine_protocol::Identity;

use crate::error::AgentError;

/// What the documents so far say, with the configuration of the host alone beside it.
pub(crate) struct Layers {
    documents: Vec<Document>,
    host: Config,
    merged: Merged,
    config: Config,
}

impl Layers {
    /// The host's layers, and `user_data`, which must say the same for readers that know no layers.
    pub(crate) fn of_host(layers: &[u8], user_data: &[u8]) -> Result<Self, AgentError> {
        let documents = vec![defaults(), Document::from_layers(layers).map_err(AgentError::Config)?];
        let (merged, config) = synthesized(&documents)?;
        let text = user_data.strip_prefix(b"#cloud-init\n").unwrap_or(user_data);
        if text != merged.to_yaml().as_bytes() {
            return Err(AgentError::LayersDiffer);
        }
        Ok(Self { documents, host: config.clone(), merged, config })
    }

    /// Those of a machine without a host: the documents that its policy lets count.
    pub(crate) fn of_machine(documents: impl IntoIterator<Item = Document>) -> Result<Self, AgentError> {
        let documents: Vec<Document> = [defaults()].into_iter().chain(documents).collect();
        let (merged, config) = synthesized(&documents)?;
        Ok(Self { documents, host: config.clone(), merged, config })
    }

    /// Lays documents over those that are there.
    pub(crate) fn add(&mut self, documents: impl IntoIterator<Item = Document>) -> Result<(), AgentError> {
        self.documents.extend(documents);
        (self.merged, self.config) = synthesized(&self.documents)?;
        Ok(())
    }

    pub(crate) const fn config(&self) -> &Config {
        &self.config
    }

    pub(crate) const fn merged(&self) -> &Merged {
        &self.merged
    }

    /// Values of the machine's own documents that have no effect, each with the reason. One that `require` names is an
    /// error, and so is a requirement that the host has not checked and its driver does not honour.
    pub(crate) fn without_effect(&self, unsupported: &[String]) -> Result<Vec<String>, AgentError> {
        let driver = |key: &str| AgentError::Required {
            key: key.to_owned(),
            why: "the machine's driver does not honour it".to_owned(),
        };
        let unmet = |key: &str| unsupported.iter().any(|pattern| matches(pattern, key));
        let added = |key: &String| !self.host.require.contains(key) && unmet(key);
        if let Some(key) = self.config.require.iter().find(|key| added(key)) {
            return Err(driver(key));
        }
        let mut remarks = Vec::new();
        for leaf in self.merged.leaves() {
            let Some(key) = leaf.path.strip_prefix("cloud-machine.") else { continue };
            let required = |list: &[String]| list.iter().any(|path| is_below(key, path));
            if leaf.is_late() {
                let text = format!("{key} ({}) has no effect: the machine was made before", leaf.origin);
                if required(&self.config.require) {
                    return Err(AgentError::Required { key: key.to_owned(), why: text });
                }
                remarks.push(text);
            } else if required(&self.config.require) && !required(&self.host.require) && unmet(key) {
                return Err(driver(key));
            }
        }
        Ok(remarks)
    }

    /// Lines of root's `authorized_keys`: those of the identity, with the configuration's own as they are now.
    pub(crate) fn authorized_keys(&self, identity: &Identity) -> Vec<String> {
        let (before, now) = (&self.host.ssh_authorized_keys, &self.config.ssh_authorized_keys);
        let kept = identity.authorized_keys.iter().filter(|key| !before.contains(key) && !now.contains(key));
        kept.chain(now).cloned().collect()
    }
}

fn synthesized(documents: &[Document]) -> Result<(Merged, Config), AgentError> {
    let merged = merge(documents).map_err(AgentError::Config)?;
    let config = validate(&merged).map_err(AgentError::Config)?;
    Ok((merged, config))
}

/// Whether `key` is the one at `path` or lies below it.
fn is_below(key: &str, path: &str) -> bool {
    key.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use cloud_machine_config::{LayerKind, parse};

    use super::*;

    fn document(layer: LayerKind, text: &str) -> Document {
        parse(layer, "f", text.as_bytes()).unwrap_or_else(|errors| panic!("{errors}"))
    }

    fn host(text: &str) -> Layers {
        let merged = merge(&[defaults(), document(LayerKind::Project, text)]).unwrap();
        let user_data = format!("#cloud-init\n{}", merged.to_yaml());
        Layers::of_host(&merged.to_layers(), user_data.as_bytes()).unwrap_or_else(|error| panic!("{error}"))
    }

    #[test]
    fn user_data_that_says_something_else_is_refused() {
        let merged = merge(&[defaults(), document(LayerKind::Project, "hostname: a\n")]).unwrap();
        let error = Layers::of_host(&merged.to_layers(), b"hostname: a\n").err().unwrap();
        assert!(matches!(error, AgentError::LayersDiffer));
    }

    #[test]
    fn origins_of_the_host_survive_and_later_documents_have_their_own() {
        let mut layers = host("hostname: a\ntimezone: UTC\n");
        layers.add([document(LayerKind::CloudInitUrl, "hostname: b\n")]).unwrap();
        let origins = layers.merged().origins();
        assert_eq!(origins["timezone"], "project f:2:11");
        assert_eq!(origins["hostname"], "cloud-init URL f:1:11");
        assert_eq!(origins["cloud-machine.driver"], "built-in default");
    }

    #[test]
    fn a_lock_of_the_host_holds() {
        let mut layers = host("hostname: !final a\n");
        let error = layers.add([document(LayerKind::Volume, "hostname: b\n")]).unwrap_err();
        assert!(error.to_string().contains("locked by project f:1:"), "{error}");
    }

    const HOST: &str =
        "cloud-machine: {require: [resources.cpus], resources: {cpus: 4, disks: {d: {boot-partition: true}}}}";

    fn tried(ours: &str) -> Result<Vec<String>, String> {
        let mut layers = host(HOST);
        layers.add([document(LayerKind::CloudInitUrl, &format!("cloud-machine: {{{ours}}}"))]).unwrap();
        let unsupported =
            ["resources.cpus", "resources.nic.network", "resources.disks.*.boot-partition"].map(str::to_owned);
        layers.without_effect(&unsupported).map_err(|error| error.to_string())
    }

    #[test]
    fn what_comes_too_late_is_a_remark_unless_it_is_required() {
        assert_eq!(
            tried("resources: {ram: 8}").unwrap(),
            ["resources.ram (cloud-init URL f:1:34) has no effect: the machine was made before"]
        );
        assert!(tried("resources: {cpus: 4}").unwrap().is_empty());
        let error = tried("resources: {cpus: 8}").unwrap_err();
        assert!(error.starts_with("`require` names `resources.cpus`: "), "{error}");
        assert!(tried("require: !append [resources], resources: {ram: 8}").is_err());
    }

    #[test]
    fn requirements_of_the_machine_are_held_against_what_the_driver_does_not_do() {
        tried("require: !append [resources.ram]").unwrap();
        assert!(tried("require: !append [resources.nic.network]").is_err(), "nobody sets it");
        for key in ["resources.disks.d.boot-partition", "resources.disks", "resources.disks.d"] {
            let error = tried(&format!("require: !append [{key}]")).unwrap_err();
            assert!(error.contains("`resources.disks.d.boot-partition`: the machine's driver"), "{key}: {error}");
        }
    }

    #[test]
    fn keys_to_log_in_with_are_those_of_the_configuration_and_the_hosts_own() {
        let key = |owner: &str| {
            format!("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE1lY2hhbmljYWwgZXhhbXBsZSBrZXkgMDAwMDAwMDAw {owner}")
        };
        let [one, two, three] = ["one", "two", "three"].map(key);
        let mut layers = host(&format!("ssh_authorized_keys: [{one}, {two}]\n"));
        let mut identity: Identity = serde_json::from_value(serde_json::json!({
            "name": "demo", "machine_uuid": "u", "machine_id": "0123456789abcdef0123456789abcdef",
            "mac": "52:54:00:12:34:56", "authorized_keys": [one, two, "login"], "ssh_host_keys": "rotate",
        }))
        .unwrap();
        assert_eq!(layers.authorized_keys(&identity), ["login", one.as_str(), two.as_str()]);
        layers.add([document(LayerKind::CloudInitUrl, &format!("ssh_authorized_keys: [{two}, {three}]\n"))]).unwrap();
        assert_eq!(layers.authorized_keys(&identity), ["login", two.as_str(), three.as_str()]);
        identity.authorized_keys.clear();
        assert_eq!(layers.authorized_keys(&identity), [two.as_str(), three.as_str()]);
    }
}

//! Settings of cloud-init that an image brings, in `/etc/cloud`: whether one of them would count before what a machine is handed. Must
//! not judge what only adds to it.

use serde_yaml::{Mapping, Value};

/// Keys that undo what the machine's own settings say, and what each does.
const UNDOING: [(&str, &str); 4] = [
    ("conf_d", "takes the settings from another folder"),
    ("merge_how", OTHER_ORDER),
    ("merge_type", OTHER_ORDER),
    ("ssh_keys", "replaces the SSH host key, and the host believes no other"),
];
const OTHER_ORDER: &str = "changes which settings count";
/// Keys of the datasource NoCloud that the machine's own settings have, so that the image's do not count.
const NO_CLOUD: [&str; 2] = ["fs_label", "seedfrom"];
/// What the first line of a file begins with that is not YAML until cloud-init has made it so.
const TEMPLATE: &[u8] = b"## template:";

/// What speaks against a file of settings with `content`; `None` when the machine's own settings hold beside it. `network`: whether these
/// describe a network.
#[must_use]
pub fn objection(content: &[u8], network: bool) -> Option<String> {
    if content.starts_with(TEMPLATE) {
        return Some("is a template, which nobody but cloud-init can judge".to_owned());
    }
    let read = serde_yaml::from_slice::<Value>(content).and_then(|mut value| value.apply_merge().map(|()| value));
    match read {
        Ok(Value::Null) => None,
        Ok(Value::Mapping(settings)) => of_settings(&settings, network),
        Ok(_) => Some("is no map of settings".to_owned()),
        Err(error) => Some(format!("cannot be read as YAML ({error})")),
    }
}

fn of_settings(settings: &Mapping, network: bool) -> Option<String> {
    if network && settings.contains_key("network") {
        return Some("has `network`, which is merged with the one that the configuration describes".to_owned());
    }
    if let Some((key, why)) = UNDOING.iter().find(|(key, _)| settings.contains_key(*key)) {
        return Some(format!("has `{key}`, which {why}"));
    }
    let source = settings.get("datasource").and_then(|sources| sources.get("NoCloud"));
    let names = source.and_then(Value::as_mapping).into_iter().flat_map(Mapping::keys);
    let mut others = names.filter(|name| !name.as_str().is_some_and(|name| NO_CLOUD.contains(&name)));
    others.next().map(|_| "has a seed of its own in `datasource.NoCloud`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_undo_the_machines_own_are_named() {
        for (text, found) in [
            ("conf_d: /srv/cloud\n", "has `conf_d`, which takes the settings from another folder"),
            ("merge_how: 'dict(replace)+list()+str()'\n", "has `merge_how`, which changes which settings count"),
            ("ssh_keys: {ed25519_private: x}\n", "has `ssh_keys`, which replaces the SSH host key"),
            ("x: &x {ssh_keys: {}}\n<<: *x\n", "has `ssh_keys`"),
            (
                "datasource: {NoCloud: {meta-data: {}, user-data: ''}}\n",
                "has a seed of its own in `datasource.NoCloud`",
            ),
            ("## template: jinja\nx: 1\n", "is a template"),
            ("- ssh_keys\n", "is no map of settings"),
            ("x: [\n", "cannot be read as YAML"),
        ] {
            assert!(objection(text.as_bytes(), false).unwrap().starts_with(found), "{text}");
        }
    }

    #[test]
    fn a_network_of_the_image_is_in_the_way_of_one_that_is_described() {
        let settings = b"network: {config: disabled}\n";
        assert_eq!(objection(settings, false), None);
        assert!(objection(settings, true).unwrap().starts_with("has `network`, which is merged"));
    }

    #[test]
    fn settings_that_hold_beside_the_machines_own_are_left_alone() {
        for text in [
            "",
            "# nothing\n",
            "datasource_list: [NoCloud, ConfigDrive, None]\n",
            "datasource: {NoCloud: {fs_label: cidata, seedfrom: 'http://h/'}, Ec2: {timeout: 5}}\n",
            "users: [default]\nsystem_info: {default_user: {name: debian}}\nssh_deletekeys: true\n",
        ] {
            assert_eq!(objection(text.as_bytes(), true), None, "{text}");
        }
    }
}

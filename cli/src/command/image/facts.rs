//! What the system in an image has, as a result to show. Must not look into the image.

use cloud_machine_protocol::escape;
use cloud_machine_store::{ImageFacts, Installed};

/// Lines of a table: names in front, of 12 characters.
pub(super) fn lines(facts: &ImageFacts) -> String {
    let facts = match facts {
        ImageFacts::Known(facts) => facts,
        ImageFacts::Unknown(why) => return line("system", &format!("not known: {why}")),
    };
    let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "not known".to_owned());
    let program =
        |program: &Option<Installed>| program.as_ref().map_or_else(|| "none".to_owned(), Installed::to_string);
    let names = |names: &[String]| if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    [
        ("system", text(&facts.system)),
        ("init", facts.init.clone().unwrap_or_else(|| "none".to_owned())),
        ("cloud-init", program(&facts.cloud_init)),
        ("docker", program(&facts.docker)),
        ("rancher", facts.rancher.as_deref().map_or_else(|| "not known".to_owned(), names)),
        ("modules", names(&facts.kernels)),
        ("network", names(&facts.network)),
        ("generators", names(&facts.generators)),
    ]
    .iter()
    .map(|(name, value)| line(name, value))
    .collect()
}

/// The texts are the image's own.
pub(super) fn line(name: &str, value: &str) -> String {
    format!("{name:12} {}\n", escape::line(value.as_bytes(), 400))
}

#[cfg(test)]
mod tests {
    use cloud_machine_store::SystemFacts;

    use super::*;

    #[test]
    fn what_is_there_what_is_not_and_what_is_not_known_are_told_apart() {
        let known = SystemFacts {
            system: Some("Debian \u{202e}12".to_owned()),
            cloud_init: Some(Installed { version: Some("22.4.2-1".to_owned()) }),
            rancher: Some(vec!["k3s".to_owned()]),
            kernels: vec!["6.1".to_owned(), "6.12".to_owned()],
            ..SystemFacts::default()
        };
        let shown = lines(&ImageFacts::Known(known));
        assert!(!shown.contains('\u{202e}'), "{shown}");
        for line in [
            "cloud-init   22.4.2-1\n",
            "docker       none\n",
            "rancher      k3s\n",
            "modules      6.1, 6.12\n",
            "init         none\n",
        ] {
            assert!(shown.contains(line), "{line}{shown}");
        }
        let unknown = lines(&ImageFacts::Unknown("the root filesystem is xfs".to_owned()));
        assert_eq!(unknown, "system       not known: the root filesystem is xfs\n");
    }
}

//! Reading a policy from its tree. Must not know what a policy leads to.

use std::time::Duration;

use cloud_machine_protocol::DeviceSelector;
use url::Url;

use super::{
    Accept, MAX_RECOVERY, MAX_WAIT, MIN_RECOVERY, Policy, WAIT_WHEN_REQUIRED, WipePolicy, WithoutConfiguration,
};
use crate::{
    authorized_key::{is_key, is_key_cut_off},
    check::{self, invalid},
    config::FilesystemType,
    error::{ConfigError, ConfigErrors},
    grammar::{self, ACCEPTED, BEGINNING, BOOLEAN, DEVICE, MADE_ONE, RECOVERY, SIGNER, Shape, WAIT, WIPE, WITHOUT},
    parse::parse_map,
    scalar::Scalar,
    source::{LayerKind, shortened},
    tree::{Erases, Node, Value, child_path, item_path},
    url::{self as address, CloudInitUrl},
};

/// Words of `volume.accept`, in the order of the type.
const ACCEPT: [(&str, Accept); 3] =
    [("pinned", Accept::Pinned), ("signed", Accept::Signed), ("read-only", Accept::ReadOnly)];
/// Said with each contradiction that a volume which counts would end.
const NONE_COUNTS: &str = "add `pinned`, `signed` or `read-only` to `volume.accept`";
/// Filesystems that something at a boot can make.
const FILESYSTEMS: [FilesystemType; 6] = [
    FilesystemType::Ext4,
    FilesystemType::Xfs,
    FilesystemType::Btrfs,
    FilesystemType::Vfat,
    FilesystemType::Swap,
    FilesystemType::Zfs,
];
/// Filesystems that a configuration may have, and that nothing at a boot makes.
const MEDIA: [&str; 3] = ["iso9660", "squashfs", "erofs"];

/// The policy of the document `bytes`, which is called `name`.
pub(super) fn policy(name: &str, bytes: &[u8]) -> Result<Policy, ConfigErrors> {
    // The layer is told by no error of a policy: it is merged with nothing.
    let (_, root) = parse_map(LayerKind::Global, name, bytes, "wipe: none")?;
    let mut errors = Vec::new();
    tags(&root, "", &mut errors);
    check::shape(&root, &Shape::Map(grammar::POLICY), "", &mut errors);
    let policy = Reader { root: &root, errors: &mut errors }.policy();
    if errors.is_empty() {
        contradictions(&policy, &root, &mut errors);
    }
    ConfigErrors::check(errors)?;
    Ok(policy)
}

/// Refuses tags: they say how a document goes with others.
fn tags(node: &Node, path: &str, errors: &mut Vec<ConfigError>) {
    if node.erases != Erases::Nothing || node.extends.is_some() || node.locked.is_some() || node.secret {
        let error = ConfigError::new(&node.source, node.mark, path, "a tag means nothing in a policy");
        errors.push(error.suggestion(Some("leave it out: a policy is merged with nothing".to_owned())));
    }
    match &node.value {
        Value::Scalar(_) => {}
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                tags(item, &item_path(path, index), errors);
            }
        }
        Value::Map(entries) => {
            for entry in entries {
                tags(&entry.value, &child_path(path, &entry.key.as_text()), errors);
            }
        }
    }
}

/// Reads values whose shapes were looked at: one of another shape was reported, and counts as absent.
struct Reader<'a> {
    root: &'a Node,
    errors: &'a mut Vec<ConfigError>,
}

impl Reader<'_> {
    fn policy(&mut self) -> Policy {
        let mut policy = Policy::default();
        let required = self.scalar("volume.required", BOOLEAN, |scalar| matches!(scalar, Scalar::Bool(_)));
        policy.volume.required = matches!(required, Some(Scalar::Bool(true)));
        let most = i64::try_from(MAX_WAIT.as_secs()).unwrap_or_default();
        let wait = self.scalar(
            "volume.wait",
            WAIT,
            |scalar| matches!(scalar, Scalar::Integer(seconds) if (0..=most).contains(seconds)),
        );
        if let Some(Scalar::Integer(seconds)) = wait {
            policy.volume.wait = Duration::from_secs(u64::try_from(*seconds).unwrap_or_default());
        } else if policy.volume.required {
            policy.volume.wait = WAIT_WHEN_REQUIRED;
        }
        if let Some(words) = self.list("volume.accept", ACCEPTED, |text| ACCEPT.iter().any(|(word, _)| *word == text)) {
            let stated = ACCEPT.iter().filter(|(word, _)| words.iter().any(|text| text == word));
            policy.volume.accept = stated.map(|(_, accept)| *accept).collect();
        }
        if let Some(keys) = self.list("volume.keys", SIGNER, is_signer) {
            policy.volume.keys = keys;
        }
        if let Some(allowed) = self.list("address.allowed", BEGINNING, is_beginning) {
            policy.address.allowed = allowed;
        }
        policy.address.default = self.address();
        self.wipe(&mut policy.wipe);
        if let Some(words) =
            self.list("filesystems", MADE_ONE, |text| FILESYSTEMS.iter().any(|kind| kind.name() == text))
        {
            let stated = |kind: &&FilesystemType| words.iter().any(|text| text == kind.name());
            policy.filesystems = FILESYSTEMS.iter().filter(stated).copied().collect();
        }
        if self.word("without-configuration", WITHOUT, ["boot", "stop"]) == Some(1) {
            policy.without_configuration = WithoutConfiguration::Stop;
        }
        let size =
            |scalar: &Scalar| scalar.as_text().parse().ok().filter(|size| (MIN_RECOVERY..=MAX_RECOVERY).contains(size));
        let recovery = self.scalar("recovery", RECOVERY, |scalar| size(scalar).is_some());
        policy.recovery = recovery.and_then(size);
        policy
    }

    /// The scalar at `path`, which has to be one that `fits`.
    fn scalar(&mut self, path: &str, allowed: &str, fits: impl Fn(&Scalar) -> bool) -> Option<&Scalar> {
        let node = at(self.root, path)?;
        let Value::Scalar(scalar) = &node.value else { return None };
        if fits(scalar) {
            return Some(scalar);
        }
        self.errors.push(invalid(node, path, allowed));
        None
    }

    /// Which of the two `words` is at `path`.
    fn word(&mut self, path: &str, allowed: &str, words: [&str; 2]) -> Option<usize> {
        let at = |scalar: &Scalar| words.iter().position(|word| *word == scalar.as_text());
        self.scalar(path, allowed, |scalar| at(scalar).is_some()).and_then(at)
    }

    /// The texts of the list at `path`, each of which has to be one that `fits`, and to be there once.
    fn list(&mut self, path: &str, allowed: &str, fits: fn(&str) -> bool) -> Option<Vec<String>> {
        let node = at(self.root, path)?;
        let Value::List(items) = &node.value else { return None };
        let mut texts = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let path = item_path(path, index);
            match &item.value {
                Value::Scalar(Scalar::Text(text)) if texts.contains(text) => {
                    let message = format!("`{}` is in the list twice", shortened(text));
                    self.errors.push(ConfigError::new(&item.source, item.mark, &path, message));
                }
                Value::Scalar(Scalar::Text(text)) if fits(text) => texts.push(text.clone()),
                _ => self.errors.push(refused(item, &path, allowed)),
            }
        }
        Some(texts)
    }

    fn address(&mut self) -> Option<CloudInitUrl> {
        let path = "address.default";
        let node = at(self.root, path).filter(|node| !matches!(node.value, Value::List(_)))?;
        // The keys of a map were looked at with its shape.
        address::read(node, path, self.errors)
    }

    fn wipe(&mut self, wipe: &mut WipePolicy) {
        let is_device = |text: &str| text.parse().is_ok_and(|selector| !matches!(selector, DeviceSelector::Label(_)));
        if let Some(texts) = self.list("wipe", DEVICE, is_device) {
            if let Some(node) = at(self.root, "wipe").filter(|node| !node.states_something()) {
                let error = ConfigError::new(&node.source, node.mark, "wipe", "the list of devices is empty");
                self.errors.push(error.suggestion(Some("write `wipe: none` to let no disk be wiped".to_owned())));
            }
            *wipe = WipePolicy::Only(texts.iter().filter_map(|text| text.parse().ok()).collect());
        } else if self.word("wipe", WIPE, ["declared", "none"]) == Some(1) {
            *wipe = WipePolicy::None;
        }
    }
}

/// The value at `path`, keys with dots between them; bytes were reported with its shape.
fn at<'tree>(root: &'tree Node, path: &str) -> Option<&'tree Node> {
    path.split('.').try_fold(root, |node, key| node.get(key)).filter(|node| !check::holds_bytes(node))
}

/// An item that is none of those `allowed`, with the reason where there is one to tell.
fn refused(item: &Node, path: &str, allowed: &str) -> ConfigError {
    let error = invalid(item, path, allowed);
    let Value::Scalar(scalar) = &item.value else { return error };
    let text = scalar.as_text();
    let way_out = if allowed == MADE_ONE && MEDIA.contains(&text.as_ref()) {
        "leave it out: a medium is only mounted, and nothing at a boot makes one".to_owned()
    } else if allowed == DEVICE && text.starts_with("label:") {
        "take serial: or wwn:, since whoever can write a device can give it any label".to_owned()
    } else if allowed == BEGINNING && text.starts_with("file:") {
        "leave it out: the address of a file names one of a host, and an image that boots by itself has none".to_owned()
    } else if allowed == BEGINNING {
        match normal(&text) {
            Some(normal) if normal != *text => format!("write `{}`", shortened(&normal)),
            _ => return error,
        }
    } else {
        return error;
    };
    error.suggestion(Some(way_out))
}

/// Whether `line` is the public half of an Ed25519 key, without options before it and as ssh-keygen(1) separates its words.
fn is_signer(line: &str) -> bool {
    let mut words = line.split(' ');
    let (Some(kind @ "ssh-ed25519"), Some(key)) = (words.next(), words.next()) else { return false };
    let key = format!("{kind} {key}");
    !line.contains(char::is_control) && is_key(&key) && !is_key_cut_off(&key)
}

/// Whether a parsed address can begin with `text`, and nothing that begins with it has another host.
fn is_beginning(text: &str) -> bool {
    matches!(text, "https://" | "http://") || normal(text).is_some_and(|normal| normal == text)
}

/// `text` with a whole host, as a parsed address has it.
fn normal(text: &str) -> Option<String> {
    let url = Url::parse(text).ok()?;
    let plain =
        url.username().is_empty() && url.password().is_none() && url.query().is_none() && url.fragment().is_none();
    (plain && matches!(url.scheme(), "https" | "http")).then(|| url.into())
}

/// What each value allows and the policy as a whole does not.
fn contradictions(policy: &Policy, root: &Node, errors: &mut Vec<ConfigError>) {
    let mut error = |path: &str, message: String, way_out: &str| {
        let node = at(root, path).unwrap_or(root);
        errors.push(ConfigError::new(&node.source, node.mark, path, message).suggestion(Some(way_out.to_owned())));
    };
    let (volume, address) = (&policy.volume, &policy.address);
    let none_counts = volume.accept.is_empty();
    if let Some(url) = address.default.as_ref().filter(|url| !address.allows(url)) {
        let path = "address.default";
        if url.file().is_some() {
            let message = "the address names a file of a host, and an image that boots by itself has none";
            error(path, message.to_owned(), "take an https address");
        } else {
            let message = format!("{} begins with none of `address.allowed`", url.redacted());
            error(path, message, "add its beginning to `address.allowed`, or leave the address out");
        }
    }
    if none_counts && volume.required {
        let message = "a volume is required, and `volume.accept` lets none count";
        error("volume.required", message.to_owned(), &format!("{NONE_COUNTS}, or leave `required` out"));
    } else if none_counts && !volume.wait.is_zero() {
        let message = "the boot waits for a volume, and `volume.accept` lets none count";
        error("volume.wait", message.to_owned(), &format!("{NONE_COUNTS}, or leave `wait` out"));
    }
    if none_counts && address.default.is_none() && policy.without_configuration == WithoutConfiguration::Stop {
        let message = "the boot always stops, since no volume counts and no address is read";
        let way_out = format!("{NONE_COUNTS}, set `address.default`, or write `boot`");
        error("without-configuration", message.to_owned(), &way_out);
    }
    match (volume.accept.contains(&Accept::Signed), volume.keys.is_empty()) {
        (true, true) => {
            let message = "signed volumes are accepted, and no key is named whose signature counts";
            error("volume.accept", message.to_owned(), "name public keys in `volume.keys`, or leave `signed` out");
        }
        (false, false) => {
            let message = "keys are named, and `volume.accept` lets no signed volume count";
            error("volume.keys", message.to_owned(), "add `signed` to `volume.accept`, or leave the keys out");
        }
        _ => {}
    }
}

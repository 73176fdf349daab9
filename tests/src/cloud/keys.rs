//! Public keys of a project.

use std::{
    io::Write,
    process::{Command, Stdio},
};

use serde_json::json;

use super::{
    input::Body,
    listing,
    refusal::Refusal,
    state::{Key, State, now},
    wire::{Answer, Request},
};

pub(super) fn list(state: &State, request: &Request) -> Result<Answer, Refusal> {
    let fingerprint = request.one("fingerprint");
    let chosen = listing::choose(request, state.keys.values())?;
    let chosen = chosen.into_iter().filter(|key| fingerprint.is_none_or(|own| own == key.fingerprint));
    listing::page(request, "ssh_keys", chosen.map(Key::show).collect())
}

pub(super) fn create(state: &mut State, request: &Request) -> Result<Answer, Refusal> {
    let body = Body::parse(&request.body)?;
    let (name, public) = (body.must_have("name")?, body.must_have("public_key")?);
    let labels = body.labels()?.unwrap_or_default();
    let public = public.trim().to_owned();
    let fingerprint = fingerprint(&public).ok_or_else(|| Refusal::invalid("public_key", "is no public key"))?;
    if state.keys.values().any(|key| key.name == name) {
        return Err(Refusal::not_unique("name"));
    }
    if state.keys.values().any(|key| key.fingerprint == fingerprint) {
        return Err(Refusal::not_unique("public_key"));
    }
    let key = Key { id: state.number(), name, labels, created: now(), fingerprint, public };
    let answer = Answer::new(201, json!({"ssh_key": key.show()}));
    state.keys.insert(key.id, key);
    Ok(answer)
}

/// One key: shown, changed or deleted.
pub(super) fn one(state: &mut State, request: &Request, id: &str) -> Result<Answer, Refusal> {
    let id = id.parse().ok().filter(|id| state.keys.contains_key(id)).ok_or_else(|| Refusal::not_found("ssh_key"))?;
    match request.method.as_str() {
        "GET" => {}
        "PUT" => {
            let body = Body::parse(&request.body)?;
            let (name, labels) = (body.text("name")?, body.labels()?);
            if state.keys.values().any(|key| key.id != id && Some(&key.name) == name.as_ref()) {
                return Err(Refusal::not_unique("name"));
            }
            if let Some(key) = state.keys.get_mut(&id) {
                key.name = name.unwrap_or_else(|| key.name.clone());
                key.labels = labels.unwrap_or_else(|| key.labels.clone());
            }
        }
        "DELETE" => {
            state.keys.remove(&id);
            return Ok(Answer::empty(204));
        }
        _ => return Err(Refusal::not_found("page")),
    }
    Ok(Answer::new(200, json!({"ssh_key": state.keys[&id].show()})))
}

/// As the provider shows it, MD5 in hexadecimal, by ssh-keygen(1); nothing if it is no key.
fn fingerprint(public: &str) -> Option<String> {
    let mut command = Command::new("ssh-keygen");
    command.args(["-l", "-E", "md5", "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().expect("ssh-keygen, of the package openssh-client");
    if let Some(mut input) = child.stdin.take() {
        // It may have seen enough before all is written.
        input.write_all(public.as_bytes()).unwrap_or_default();
    }
    let output = child.wait_with_output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let fingerprint = text.split(' ').nth(1)?.strip_prefix("MD5:")?.to_owned();
    output.status.success().then_some(fingerprint)
}

//! Images: the provider's own, and snapshots.

use serde_json::json;

use super::{
    Shared,
    input::Body,
    listing,
    refusal::Refusal,
    state::{Image, State},
    wire::{Answer, Request},
};

pub(super) fn list(state: &State, request: &Request) -> Result<Answer, Refusal> {
    let shown = |image: &&Image| {
        let shown = image.show();
        let is = |field: &str| {
            let mut wanted = request.all(field).peekable();
            wanted.peek().is_none() || wanted.any(|wanted| shown[field] == wanted)
        };
        // No image is bound to a server: that is what backups are.
        is("type") && is("status") && is("architecture") && request.one("bound_to").is_none()
    };
    let chosen = listing::choose(request, state.images.values())?;
    listing::page(request, "images", chosen.into_iter().filter(shown).map(Image::show).collect())
}

/// One image: shown, changed or deleted.
pub(super) fn one(shared: &Shared, state: &mut State, request: &Request, id: &str) -> Result<Answer, Refusal> {
    let id: u64 = id.parse().map_err(|_| Refusal::not_found("image"))?;
    let image = state.images.get_mut(&id).ok_or_else(|| Refusal::not_found("image"))?;
    match request.method.as_str() {
        "GET" => {}
        _ if image.name.is_some() => return Err(Refusal::protected("images of the provider cannot be changed")),
        _ if !image.is_ready() => return Err(Refusal::locked("image")),
        "PUT" => {
            let body = Body::parse(&request.body)?;
            let (description, labels) = (body.text("description")?, body.labels()?);
            image.description = description.unwrap_or_else(|| image.description.clone());
            image.labels = labels.unwrap_or_else(|| image.labels.clone());
        }
        "DELETE" => {
            shared.machines.forget(id).map_err(|_| Refusal::server(500))?;
            state.images.remove(&id);
            return Ok(Answer::empty(204));
        }
        _ => return Err(Refusal::not_found("page")),
    }
    Ok(Answer::new(200, json!({"image": state.images[&id].show()})))
}

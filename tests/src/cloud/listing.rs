//! Lists: which entries a request asks for, in which order, and which page of them.

use std::{cmp::Ordering, collections::BTreeMap};

use serde_json::{Value, json};

use super::{
    refusal::Refusal,
    wire::{Answer, Request},
};

const PER_PAGE: usize = 25;
const MOST_PER_PAGE: usize = 50;

/// What may be listed.
pub(super) trait Entry {
    fn id(&self) -> u64;
    fn name(&self) -> &str {
        ""
    }
    /// `created`, or `started` of an action.
    fn since(&self) -> jiff::Timestamp;
    fn labels(&self) -> Option<&BTreeMap<String, String>> {
        None
    }
}

/// Entries that have the name and the labels that are asked for, in the order that is asked for.
pub(super) fn choose<'a, T: Entry + 'static>(
    request: &Request,
    entries: impl Iterator<Item = &'a T>,
) -> Result<Vec<&'a T>, Refusal> {
    let selector = request.one("label_selector").map_or(Ok(Vec::new()), selector)?;
    let name = request.one("name");
    let mut chosen: Vec<&T> = entries
        .filter(|entry| name.is_none_or(|name| entry.name() == name))
        .filter(|entry| selector.is_empty() || entry.labels().is_some_and(|labels| matches(&selector, labels)))
        .collect();
    let orders = request.all("sort").map(order::<T>).collect::<Result<Vec<_>, _>>()?;
    chosen
        .sort_by(|a, b| orders.iter().map(|order| order(a, b)).find(|order| order.is_ne()).unwrap_or(Ordering::Equal));
    Ok(chosen)
}

type Order<T> = Box<dyn Fn(&T, &T) -> Ordering>;

fn order<T: Entry + 'static>(text: &str) -> Result<Order<T>, Refusal> {
    let (field, direction) = text.split_once(':').unwrap_or((text, "asc"));
    let by: fn(&T, &T) -> Ordering = match field {
        "id" => |a, b| a.id().cmp(&b.id()),
        "name" => |a, b| a.name().cmp(b.name()),
        "created" | "started" => |a, b| a.since().cmp(&b.since()),
        _ => return Err(Refusal::invalid("sort", "cannot sort by this field")),
    };
    match direction {
        "asc" => Ok(Box::new(by)),
        "desc" => Ok(Box::new(move |a, b| by(b, a))),
        _ => Err(Refusal::invalid("sort", "direction must be asc or desc")),
    }
}

/// The page that is asked for, as an answer.
pub(super) fn page(request: &Request, key: &str, entries: Vec<Value>) -> Result<Answer, Refusal> {
    let number = |field: &str, otherwise: usize, most: usize| match request.one(field).map(str::parse) {
        None => Ok(otherwise),
        Some(Ok(number)) if (1..=most).contains(&number) => Ok(number),
        Some(_) => Err(Refusal::invalid(field, "is out of range")),
    };
    let page = number("page", 1, usize::MAX)?;
    let per_page = number("per_page", PER_PAGE, MOST_PER_PAGE)?;
    let total = entries.len();
    let last = total.div_ceil(per_page).max(1);
    let first = page.saturating_sub(1).saturating_mul(per_page);
    let shown: Vec<Value> = entries.into_iter().skip(first).take(per_page).collect();
    let pagination = json!({
        "page": page,
        "per_page": per_page,
        "previous_page": (page > 1).then(|| page - 1),
        "next_page": (page < last).then(|| page + 1),
        "last_page": last,
        "total_entries": total,
    });
    Ok(Answer::new(200, json!({key: shown, "meta": {"pagination": pagination}})))
}

/// One requirement of a selector.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Has(String),
    HasNot(String),
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
}

fn matches(selector: &[Wanted], labels: &BTreeMap<String, String>) -> bool {
    selector.iter().all(|wanted| match wanted {
        Wanted::Has(key) => labels.contains_key(key),
        Wanted::HasNot(key) => !labels.contains_key(key),
        Wanted::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
        Wanted::NotIn(key, values) => labels.get(key).is_none_or(|value| !values.contains(value)),
    })
}

/// `key`, `!key`, `key=value`, `key==value`, `key!=value`, `key in (a,b)`, `key notin (a,b)`, joined by commas.
fn selector(text: &str) -> Result<Vec<Wanted>, Refusal> {
    let mut parts = vec![String::new()];
    let mut depth = 0_usize;
    for char in text.chars() {
        match char {
            ',' if depth == 0 => parts.push(String::new()),
            _ => {
                depth = match char {
                    '(' => depth + 1,
                    ')' => depth.saturating_sub(1),
                    _ => depth,
                };
                parts.last_mut().expect("there is a part").push(char);
            }
        }
    }
    parts.iter().map(|part| wanted(part.trim())).collect()
}

fn wanted(text: &str) -> Result<Wanted, Refusal> {
    let key = |key: &str| {
        let key = key.trim();
        let valid = !key.is_empty() && key.chars().all(|char| char.is_ascii_alphanumeric() || "._-/".contains(char));
        valid.then(|| key.to_owned()).ok_or_else(|| Refusal::invalid("label_selector", "is invalid"))
    };
    let values = |list: &str| {
        let list = list.trim().strip_prefix('(').and_then(|list| list.strip_suffix(')'));
        let list = list.ok_or_else(|| Refusal::invalid("label_selector", "is invalid"))?;
        Ok::<_, Refusal>(list.split(',').map(|value| value.trim().to_owned()).collect::<Vec<_>>())
    };
    let one = |value: &str| vec![value.trim().to_owned()];
    if let Some((name, value)) = text.split_once("!=") {
        Ok(Wanted::NotIn(key(name)?, one(value)))
    } else if let Some((name, value)) = text.split_once("==").or_else(|| text.split_once('=')) {
        Ok(Wanted::In(key(name)?, one(value)))
    } else if let Some((name, list)) = text.split_once(" notin ") {
        Ok(Wanted::NotIn(key(name)?, values(list)?))
    } else if let Some((name, list)) = text.split_once(" in ") {
        Ok(Wanted::In(key(name)?, values(list)?))
    } else if let Some(name) = text.strip_prefix('!') {
        Ok(Wanted::HasNot(key(name)?))
    } else {
        Ok(Wanted::Has(key(text)?))
    }
}

//! The client: its address, its token, and which faults are waited out. Must not know what is asked for.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use cloud_machine_fetch::{FetchError, Names};
use reqwest::{Method, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::{
    ApiError, Call, Pace, TokenSource,
    exchange::{Fault, Refusal, Request, exchange},
    token::Token,
};

/// Where the provider's own API is.
pub const ENDPOINT: &str = "https://api.hetzner.cloud/v1";
/// Connections that are kept: a program asks for few things at once.
const KEPT: usize = 4;

/// A client of the Hetzner Cloud API v1, blocking. Several threads may use it; not inside an asynchronous runtime. Every
/// call has a deadline, before which it waits for what passes: too many requests, a lock, somebody else's change, faults
/// of the provider and of the network.
pub struct Client {
    http: reqwest::blocking::Client,
    endpoint: Url,
    source: TokenSource,
    /// Read at the first call, and again when the provider does not accept it: a program that says it may ask somebody.
    token: Mutex<Option<Token>>,
    pace: Pace,
}

impl fmt::Debug for Client {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("Client");
        shown.field("endpoint", &self.endpoint()).field("source", &self.source).finish_non_exhaustive()
    }
}

/// A request and how often it may be sent.
pub(crate) struct Ask {
    pub(crate) call: Call,
    pub(crate) request: Request,
    /// Whether doing it a second time changes nothing, or is refused.
    pub(crate) is_repeatable: bool,
}

impl Ask {
    pub(crate) fn get(call: Call, path: impl Into<String>, query: Vec<(&'static str, String)>) -> Self {
        let request = Request { method: Method::GET, path: path.into(), query, body: None };
        Self { call, request, is_repeatable: true }
    }

    pub(crate) fn delete(call: Call, path: impl Into<String>) -> Self {
        let request = Request { method: Method::DELETE, path: path.into(), query: Vec::new(), body: None };
        Self { call, request, is_repeatable: true }
    }

    /// One that may be sent again; `null` stands for no body.
    pub(crate) fn post(call: Call, path: impl Into<String>, body: Value) -> Self {
        let request = Request {
            method: Method::POST,
            path: path.into(),
            query: Vec::new(),
            body: Some(body).filter(|body| !body.is_null()),
        };
        Self { call, request, is_repeatable: true }
    }

    /// One whose effect must come once: without an answer the call ends with [`ApiError::Unanswered`].
    pub(crate) fn post_once(call: Call, path: impl Into<String>, body: Value) -> Self {
        Self { is_repeatable: false, ..Self::post(call, path, body) }
    }
}

impl Client {
    /// A client of the API at `endpoint`, such as [`ENDPOINT`]. Plain HTTP is for an API on this host only. Nothing is sent
    /// and no token read yet.
    ///
    /// # Errors
    /// [`ApiError::Endpoint`] or [`ApiError::Client`].
    pub fn new(endpoint: &str, token: TokenSource, pace: Pace) -> Result<Self, ApiError> {
        let address = checked(endpoint)
            .map_err(|why| ApiError::Endpoint { endpoint: cloud_machine_fetch::shown(endpoint), why })?;
        let http = cloud_machine_fetch::client(endpoint, None, &Names::System, KEPT, pace.request)
            .map_err(|error| ApiError::Client(error.into()))?;
        Ok(Self { http, endpoint: address, source: token, token: Mutex::new(None), pace })
    }

    /// The address of the API.
    #[must_use]
    pub fn endpoint(&self) -> &str {
        self.endpoint.as_str()
    }

    pub(crate) const fn pace(&self) -> Pace {
        self.pace
    }

    /// The answer to a request, read as JSON; without a body it is read as `null`.
    pub(crate) fn ask<T: DeserializeOwned>(&self, ask: &Ask, until: Instant) -> Result<T, ApiError> {
        let bytes = self.bytes(ask, until)?;
        let bytes: &[u8] = if bytes.is_empty() { b"null" } else { &bytes };
        serde_json::from_slice(bytes).map_err(|error| ApiError::Answer { call: ask.call.clone(), source: error.into() })
    }

    fn bytes(&self, ask: &Ask, until: Instant) -> Result<Vec<u8>, ApiError> {
        let mut waits = self.pace.waits();
        // Of faults that may never pass.
        let mut failures = 0;
        loop {
            let (token, is_fresh) = self.token(&ask.call, until)?;
            let now = Instant::now();
            if now >= until {
                return Err(ApiError::TimedOut { call: ask.call.clone(), doing: "nothing was sent yet".to_owned() });
            }
            let fault =
                match exchange(&self.http, &self.endpoint, &ask.request, &token, until.min(now + self.pace.request)) {
                    Ok(bytes) => return Ok(bytes),
                    Err(fault) => fault,
                };
            if is_refused(&fault, 401) && !is_fresh {
                *self.token.lock().unwrap_or_else(PoisonError::into_inner) = None;
                continue;
            }
            let passing = passing(&fault, ask.is_repeatable);
            failures += usize::from(passing == Passing::Perhaps);
            let wait = match passing {
                Passing::No => None,
                Passing::Perhaps if failures >= self.pace.attempts => None,
                Passing::Perhaps | Passing::Surely => waits.next(),
                Passing::After(wait) => Some(wait.max(self.pace.first_wait)),
            };
            if !wait.is_some_and(|wait| self.pace.pause(wait, until)) {
                return Err(self.error(ask, fault, failures));
            }
        }
    }

    /// The token, and whether it was read for this request.
    fn token(&self, call: &Call, until: Instant) -> Result<(Token, bool), ApiError> {
        let mut kept = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(token) = &*kept {
            return Ok((token.copy(), false));
        }
        let read = self.source.read(until);
        let token = read.map_err(|source| ApiError::Token { call: call.clone(), source: source.into() })?;
        *kept = Some(token.copy());
        Ok((token, true))
    }

    fn error(&self, ask: &Ask, fault: Fault, attempts: usize) -> ApiError {
        let call = ask.call.clone();
        let unanswered = |failure: String| ApiError::Unanswered { call: call.clone(), failure };
        match fault {
            Fault::NotSent(source) => ApiError::Unreachable { call, source: source.into() },
            Fault::Lost(source) if ask.is_repeatable => ApiError::Unreachable { call, source: source.into() },
            Fault::Lost(_) => unanswered("the connection was lost before the answer".to_owned()),
            Fault::Silent if ask.is_repeatable => ApiError::TimedOut { call, doing: "no answer had come".to_owned() },
            Fault::Silent => unanswered("no answer came in time".to_owned()),
            Fault::Server(status) if ask.is_repeatable => ApiError::ServerFault { call, status, attempts },
            Fault::Server(status) => unanswered(format!("the provider answered with its own fault {status}")),
            Fault::Strange(what) => ApiError::Answer { call, source: what.into() },
            Fault::Refused(refusal) => self.refused(call, refusal),
        }
    }

    fn refused(&self, call: Call, refusal: Refusal) -> ApiError {
        let Refusal { status, code, message, wait } = refusal;
        match status {
            401 => ApiError::Unauthorized { call, place: self.source.clone() },
            404 => ApiError::NotFound { call },
            423 => ApiError::Locked { call },
            429 => ApiError::RateLimited { call, wait: wait.unwrap_or_default() },
            409 if is_conflict(&code) => ApiError::Conflict { call },
            _ => ApiError::Refused { call, code, message },
        }
    }
}

fn checked(endpoint: &str) -> Result<Url, &'static str> {
    let url: Url = endpoint.parse().map_err(|_| "it is not a URL")?;
    let is_bare = url.username().is_empty() && url.password().is_none() && url.query().is_none();
    if !is_bare || url.fragment().is_some() {
        return Err("it must not have a user, a password or a query");
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_here(&url) => Ok(url),
        "http" => Err("the token would be sent in the open; only an address of this host may be without TLS"),
        _ => Err("it does not begin with https://"),
    }
}

/// Whether an address is one of this host, and no name that somebody else answers for.
fn is_here(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Whether a fault passes by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Passing {
    No,
    Perhaps,
    /// When others are done.
    Surely,
    /// When this time is over.
    After(Duration),
}

fn passing(fault: &Fault, is_repeatable: bool) -> Passing {
    match fault {
        Fault::NotSent(FetchError::Certificate { .. }) | Fault::Strange(_) => Passing::No,
        Fault::NotSent(_) => Passing::Perhaps,
        Fault::Lost(_) | Fault::Silent | Fault::Server(_) if is_repeatable => Passing::Perhaps,
        Fault::Lost(_) | Fault::Silent | Fault::Server(_) => Passing::No,
        Fault::Refused(Refusal { status: 429, wait: Some(wait), .. }) => Passing::After(*wait),
        Fault::Refused(Refusal { status: 429 | 423, .. }) => Passing::Surely,
        Fault::Refused(Refusal { status: 409, code, .. }) if is_conflict(code) => Passing::Surely,
        Fault::Refused(_) => Passing::No,
    }
}

/// Other codes of the same status never pass, such as that of a name which another one has.
fn is_conflict(code: &str) -> bool {
    matches!(code, "conflict" | "locked")
}

fn is_refused(fault: &Fault, with: u16) -> bool {
    matches!(fault, Fault::Refused(Refusal { status, .. }) if *status == with)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(endpoint: &str) -> Result<Client, ApiError> {
        Client::new(endpoint, TokenSource::Environment("HCLOUD_TOKEN".to_owned()), Pace::default())
    }

    #[test]
    fn only_an_api_of_this_host_may_be_without_tls() {
        for endpoint in [ENDPOINT, "http://127.80.1.1:8480/v1", "http://[::1]:8480/v1"] {
            assert!(client(endpoint).is_ok(), "{endpoint}");
        }
        for (endpoint, why) in [
            ("http://api.hetzner.cloud/v1", "sent in the open"),
            ("http://10.0.0.1/v1", "sent in the open"),
            // Whoever answers for the name could be elsewhere.
            ("http://localhost/v1", "sent in the open"),
            ("ftp://127.0.0.1/v1", "https://"),
            ("https://me:secret@api.example/v1", "user"),
            ("https://api.example/v1?token=secret", "query"),
            ("api.hetzner.cloud", "not a URL"),
        ] {
            let error = client(endpoint).unwrap_err().to_string();
            assert!(error.contains(why) && !error.contains("secret"), "{error}");
        }
    }

    #[test]
    fn what_must_happen_once_is_sent_again_only_if_it_was_not_seen() {
        let refused =
            |status, code: &str| Fault::Refused(Refusal { status, code: code.into(), message: "".into(), wait: None });
        for (fault, once, again) in [
            (Fault::Silent, Passing::No, Passing::Perhaps),
            (Fault::Server(503), Passing::No, Passing::Perhaps),
            (refused(423, "locked"), Passing::Surely, Passing::Surely),
            (refused(409, "conflict"), Passing::Surely, Passing::Surely),
            (refused(409, "uniqueness_error"), Passing::No, Passing::No),
            (refused(429, "rate_limit_exceeded"), Passing::Surely, Passing::Surely),
            (refused(422, "invalid_input"), Passing::No, Passing::No),
            (Fault::Strange(String::new()), Passing::No, Passing::No),
        ] {
            assert_eq!((passing(&fault, false), passing(&fault, true)), (once, again), "{fault:?}");
        }
    }
}

//! One request and its answer, and of which kind the answer is. Must not try again, and keeps no token.

use std::{
    io::{self, Read},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use cloud_machine_fetch::FetchError;
use cloud_machine_protocol::escape;
use reqwest::{
    Method, StatusCode, Url,
    blocking::{Client, Response},
    header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue},
};
use serde::Deserialize;
use serde_json::Value;

use crate::token::Token;

/// Bytes of the largest answer: a page of 50 servers has some 200 KiB.
const LARGEST: u64 = 8 << 20;
/// Characters of the provider's words that an error repeats.
const LONGEST_MESSAGE: usize = 300;

/// A request before it is sent.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// Below the endpoint, such as `servers/4711`.
    pub(crate) path: String,
    pub(crate) query: Vec<(&'static str, String)>,
    pub(crate) body: Option<Value>,
}

/// Why there is no good answer.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The provider never saw it.
    NotSent(FetchError),
    /// It may have seen it.
    Lost(FetchError),
    /// There was no answer in time; it may have seen it.
    Silent,
    /// A fault of its own, whatever it did before.
    Server(u16),
    /// It will not do it.
    Refused(Refusal),
    /// The answer is none of the API.
    Strange(String),
}

/// An error of the API.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) status: u16,
    pub(crate) code: Box<str>,
    pub(crate) message: Box<str>,
    /// How long to wait, where too many requests were made.
    pub(crate) wait: Option<Duration>,
}

/// Sends it and waits for the answer, before the deadline.
pub(crate) fn exchange(
    client: &Client,
    endpoint: &Url,
    request: &Request,
    token: &Token,
    until: Instant,
) -> Result<Vec<u8>, Fault> {
    let url = address(endpoint, request);
    let failed = |error: reqwest::Error| match (error.is_timeout(), error.is_connect()) {
        (true, _) => Fault::Silent,
        (_, true) => Fault::NotSent(cloud_machine_fetch::unanswered(&url, error)),
        _ => Fault::Lost(cloud_machine_fetch::unanswered(&url, error)),
    };
    let left = until.saturating_duration_since(Instant::now());
    let mut sent = client.request(request.method.clone(), url.clone()).timeout(left);
    sent = sent.header(AUTHORIZATION, bearer(token)?);
    if let Some(body) = &request.body {
        sent = sent.header(CONTENT_TYPE, "application/json").body(body.to_string());
    }
    let response = sent.send().map_err(failed)?;
    let (status, wait) = (response.status(), wait(response.headers(), SystemTime::now()));
    let body = body(response)?;
    match status {
        status if status.is_success() => Ok(body),
        status if status.is_server_error() => Err(Fault::Server(status.as_u16())),
        status => Err(refused(status, &body, wait)),
    }
}

fn address(endpoint: &Url, request: &Request) -> Url {
    let mut url = endpoint.clone();
    url.set_path(&format!("{}/{}", endpoint.path().trim_end_matches('/'), request.path));
    if !request.query.is_empty() {
        url.query_pairs_mut().extend_pairs(&request.query);
    }
    url
}

fn bearer(token: &Token) -> Result<HeaderValue, Fault> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", token.reveal()))
        .map_err(|_| Fault::Strange("the token does not fit into a header".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

fn body(response: Response) -> Result<Vec<u8>, Fault> {
    let url = response.url().clone();
    let mut bytes = Vec::new();
    match response.take(LARGEST + 1).read_to_end(&mut bytes) {
        Ok(_) if bytes.len() as u64 > LARGEST => Err(Fault::Strange(format!("it has more than {LARGEST} bytes"))),
        Ok(_) => Ok(bytes),
        Err(error) if is_timeout(&error) => Err(Fault::Silent),
        Err(source) => Err(Fault::Lost(FetchError::BrokenOff {
            url: cloud_machine_fetch::shown(url.as_str()),
            received: bytes.len(),
            announced: None,
            source,
        })),
    }
}

fn is_timeout(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<reqwest::Error>());
    error.kind() == io::ErrorKind::TimedOut || inner.is_some_and(reqwest::Error::is_timeout)
}

fn refused(status: StatusCode, body: &[u8], wait: Option<Duration>) -> Fault {
    #[derive(Deserialize)]
    struct Envelope {
        error: Told,
    }
    #[derive(Deserialize)]
    struct Told {
        code: String,
        message: String,
    }
    let shown = |text: &str| escape::line(text.as_bytes(), LONGEST_MESSAGE).into();
    match serde_json::from_slice::<Envelope>(body) {
        Ok(Envelope { error }) => Fault::Refused(Refusal {
            status: status.as_u16(),
            code: shown(&error.code),
            message: shown(&error.message),
            wait,
        }),
        // A proxy on the way may answer in the provider's place, too many requests among others.
        Err(_) if status == StatusCode::TOO_MANY_REQUESTS => Fault::Refused(Refusal {
            status: status.as_u16(),
            code: "rate_limit_exceeded".into(),
            message: "".into(),
            wait,
        }),
        Err(_) => Fault::Strange(format!("status {status} without an error of the API")),
    }
}

/// How long an answer asks to be left alone. `Retry-After` counts first (RFC 9110, 10.2.3). `RateLimit-Reset`, in seconds
/// since 1970, is when all requests are there again; one is there sooner, since the provider gives them back one by one,
/// `RateLimit-Limit` in an hour.
fn wait(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<u64>().ok();
    if let Some(seconds) = number("retry-after") {
        return Some(Duration::from_secs(seconds));
    }
    let reset = UNIX_EPOCH.checked_add(Duration::from_secs(number("ratelimit-reset")?))?;
    let all = reset.duration_since(now).unwrap_or_default();
    let one = number("ratelimit-limit").filter(|limit| *limit > 0).map(|limit| {
        // Two, since other programs with the same token ask as well.
        Duration::from_secs(7200_u64.div_ceil(limit))
    });
    Some(one.map_or(all, |one| one.min(all)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_wait_is_what_the_headers_say() {
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        for (pairs, seconds) in [
            (&[("retry-after", "7"), ("ratelimit-reset", "1800003600")][..], Some(7)),
            (&[("ratelimit-reset", "1800000042")], Some(42)),
            (&[("ratelimit-reset", "1799999999")], Some(0)),
            (&[("ratelimit-limit", "3600"), ("ratelimit-reset", "1800003600")], Some(2)),
            (&[("ratelimit-limit", "7"), ("ratelimit-reset", "1800003600")], Some(1029)),
            (&[("ratelimit-limit", "3600"), ("ratelimit-reset", "1800000001")], Some(1)),
            (&[("ratelimit-limit", "0"), ("ratelimit-reset", "1800000005")], Some(5)),
            (&[("retry-after", "soon")], None),
            (&[("ratelimit-reset", "18446744073709551615")], None),
            (&[], None),
        ] {
            assert_eq!(wait(&headers(pairs), now), seconds.map(Duration::from_secs), "{pairs:?}");
        }
    }

    #[test]
    fn errors_are_safe_to_show_and_anything_else_is_strange() {
        let body = r#"{"error": {"code": "x\u001b[2J", "message": "a\nb", "details": {}, "new": 1}}"#;
        let Fault::Refused(refusal) = refused(StatusCode::CONFLICT, body.as_bytes(), None) else { panic!() };
        assert_eq!((&*refusal.code, &*refusal.message), ("x\\u{1b}[2J", "a\\nb"));
        for body in ["", "<html>", r#"{"error": "no"}"#] {
            let fault = refused(StatusCode::NOT_FOUND, body.as_bytes(), None);
            assert!(matches!(fault, Fault::Strange(_)), "{fault:?}");
        }
        let wait = Some(Duration::from_secs(1));
        let fault = refused(StatusCode::TOO_MANY_REQUESTS, b"slow down", wait);
        assert!(matches!(fault, Fault::Refused(Refusal { status: 429, .. })), "{fault:?}");
    }

    #[test]
    fn a_path_stays_below_the_endpoint() {
        let endpoint = "https://api.example/v1".parse().unwrap();
        let query = vec![("name", "a&b=c d".to_owned())];
        let request = Request { method: Method::GET, path: "servers/7".to_owned(), query, body: None };
        assert_eq!(address(&endpoint, &request).as_str(), "https://api.example/v1/servers/7?name=a%26b%3Dc+d");
    }
}

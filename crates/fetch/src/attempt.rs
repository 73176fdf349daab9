//! One attempt: the request, the redirects, the status and the body, all before one deadline. Must not try again.

use std::{
    error::Error,
    io::{self, Read},
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use reqwest::{
    StatusCode, Url,
    blocking::{Client, Response},
    header::{HeaderName, LOCATION, RETRY_AFTER},
    redirect::Policy,
};
use rustls::ClientConfig;

use crate::{FetchError, Names, names::Resolver, redirect, shown::shown_url};

/// How the client names itself.
const USER_AGENT: &str = concat!("cloud-machine/", env!("CARGO_PKG_VERSION"));
/// How long a connection is kept for the next request: shorter than servers and address translators keep theirs.
const IDLE_CONNECTION: Duration = Duration::from_secs(20);

/// A client that does nothing by itself: no redirects, no proxy of the environment. `kept` connections to a server
/// stay open for later requests. A request without a time of its own may have as long as `patience` for its answer to
/// begin, and again for each reading of the body.
///
/// # Errors
/// [`FetchError::Client`] when it cannot be made.
pub(crate) fn client(tls: ClientConfig, names: &Names, kept: usize, patience: Duration) -> Result<Client, FetchError> {
    Client::builder()
        .user_agent(USER_AGENT)
        .redirect(Policy::none())
        .referer(false)
        .no_proxy()
        .pool_max_idle_per_host(kept)
        .pool_idle_timeout(IDLE_CONNECTION)
        .timeout(patience)
        .tls_backend_preconfigured(tls)
        .dns_resolver(Arc::new(Resolver::new(names)))
        .build()
        .map_err(|error| FetchError::Client(error.into()))
}

/// The document at `origin`, at most `limit` bytes, before `deadline`.
///
/// # Errors
/// Every [`FetchError`] of a single attempt.
pub(crate) fn run(client: &Client, origin: &Url, limit: usize, deadline: Instant) -> Result<Vec<u8>, FetchError> {
    let time = deadline.saturating_duration_since(Instant::now());
    let mut url = origin.clone();
    let mut followed = 0;
    loop {
        let response = send(client, &url, deadline, time)?;
        match location(&response) {
            Some(location) => url = redirect::next(origin, &url, &location, followed)?,
            None => return body(response, &url, limit, time),
        }
        followed += 1;
    }
}

/// One request. Its time covers the body as well, because it is given with the request and not with the client, whose
/// timeout would begin anew with each read.
fn send(client: &Client, url: &Url, deadline: Instant, time: Duration) -> Result<Response, FetchError> {
    let left = deadline.saturating_duration_since(Instant::now());
    let failed = |error: reqwest::Error| match error.is_timeout() {
        true => FetchError::TimedOut { url: shown_url(url), limit: time },
        false => unanswered(url, error),
    };
    client.get(url.clone()).timeout(left).send().map_err(failed)
}

/// Why there is no answer, when it is not the time.
pub(crate) fn unanswered(url: &Url, error: reqwest::Error) -> FetchError {
    // The client's own words may hold the query.
    let (url, error) = (shown_url(url), error.without_url());
    if is_certificate(&error) {
        FetchError::Certificate { url, clock: SystemTime::now(), source: error }
    } else {
        FetchError::Unreachable { url, source: error }
    }
}

/// Where the answer sends the client; `None` when it is no redirect or does not say where.
pub(crate) fn location(response: &Response) -> Option<String> {
    let redirects = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    redirects.then(|| text(response, &LOCATION)).flatten()
}

fn body(response: Response, url: &Url, limit: usize, time: Duration) -> Result<Vec<u8>, FetchError> {
    let (url, status, announced) = (shown_url(url), response.status(), response.content_length());
    if status != StatusCode::OK {
        return Err(FetchError::Status { url, status, retry_after: retry_after(&response) });
    }
    let most = u64::try_from(limit).unwrap_or(u64::MAX);
    if announced.is_some_and(|bytes| bytes > most) {
        return Err(FetchError::TooLarge { url, limit, announced });
    }
    let mut bytes = Vec::new();
    match response.take(most.saturating_add(1)).read_to_end(&mut bytes) {
        Ok(_) if bytes.len() > limit => Err(FetchError::TooLarge { url, limit, announced: None }),
        Ok(_) => Ok(bytes),
        Err(error) if is_timeout(&error) => Err(FetchError::TimedOut { url, limit: time }),
        Err(source) => Err(FetchError::BrokenOff { url, received: bytes.len(), announced, source }),
    }
}

/// How long the server asks to be left alone.
pub(crate) fn retry_after(response: &Response) -> Option<Duration> {
    text(response, &RETRY_AFTER)?.parse().ok().map(Duration::from_secs)
}

/// A header as text, when it is there and is text.
pub(crate) fn text(response: &Response, name: &HeaderName) -> Option<String> {
    response.headers().get(name)?.to_str().ok().map(|text| text.trim().to_owned())
}

/// Whether reading the body failed by its time.
pub(crate) fn is_timeout(error: &io::Error) -> bool {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<reqwest::Error>());
    error.kind() == io::ErrorKind::TimedOut || inner.is_some_and(reqwest::Error::is_timeout)
}

/// Whether somewhere below the error is TLS that did not accept a certificate.
fn is_certificate(error: &(dyn Error + 'static)) -> bool {
    if let Some(error) = error.downcast_ref::<rustls::Error>() {
        return matches!(error, rustls::Error::InvalidCertificate(_));
    }
    // An I/O error names the source of what it carries, but not what it carries.
    let carried = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    match carried {
        Some(carried) => is_certificate(carried),
        None => error.source().is_some_and(is_certificate),
    }
}

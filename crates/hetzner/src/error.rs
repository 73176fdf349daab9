//! What can go wrong between a call and its end. Every text names the call and the way out; none holds the token, and
//! whatever the provider said is safe to show.

use std::{error::Error, time::Duration};

use cloud_machine_fetch::FetchError;
use cloud_machine_store::StoreError;

use crate::{Call, TokenError, TokenSource};

/// Why a call has no result.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// An address of the API that is not used.
    #[error("{endpoint} is no address of the API: {why}")]
    Endpoint {
        /// The address, as it may be shown.
        endpoint: String,
        /// Why not.
        why: &'static str,
    },
    /// No HTTP client could be made.
    #[error("cannot prepare a client of the API")]
    Client(#[source] Box<FetchError>),
    /// There is no token to send.
    #[error("cannot {call}: there is no token")]
    Token {
        /// What was asked.
        call: Call,
        /// Why not.
        #[source]
        source: Box<TokenError>,
    },
    /// The provider does not know the token.
    #[error(
        "cannot {call}: the provider does not accept the token in {place}; make one that may read and write under Security, API tokens of the project"
    )]
    Unauthorized {
        /// What was asked.
        call: Call,
        /// Where the token is.
        place: TokenSource,
    },
    /// It is not there, or no longer.
    #[error(
        "cannot {call}: the provider has no such thing in the project of the token; somebody else deleted it, or the token is of another project"
    )]
    NotFound {
        /// What was asked.
        call: Call,
    },
    /// A server type, an image or a place that the provider does not have or no longer offers.
    #[error("cannot {call}: there is no {what} {name}{why}; there are {}", listed(available))]
    NoSuch {
        /// What was asked.
        call: Call,
        /// `server type`, `image` or `location`.
        what: &'static str,
        /// Which one was wanted.
        name: String,
        /// Where it would have to be.
        why: String,
        /// Those that can be had.
        available: Vec<String>,
    },
    /// The provider does not want to, and will not the next time.
    #[error("cannot {call}: the provider refused it ({code}): {message}{}", way_out(code))]
    Refused {
        /// What was asked.
        call: Call,
        /// The code that the provider's reference lists, such as `invalid_input`.
        code: Box<str>,
        /// For people.
        message: Box<str>,
    },
    /// Too many requests with this token, and no more before the deadline.
    #[error("cannot {call}: too many requests were made in this project, and the provider wants {} s to pass; wait for it, or make fewer calls at once", wait.as_secs())]
    RateLimited {
        /// What was asked.
        call: Call,
        /// How long to wait.
        wait: Duration,
    },
    /// Another action kept it locked until the deadline.
    #[error(
        "cannot {call}: another action kept it locked until the deadline; see in the provider's console what it does, and try again when it is done"
    )]
    Locked {
        /// What was asked.
        call: Call,
    },
    /// Others changed it at the same time until the deadline.
    #[error(
        "cannot {call}: others changed the same thing at the same time until the deadline; try again when they are done"
    )]
    Conflict {
        /// What was asked.
        call: Call,
    },
    /// A fault of the provider's own, each time.
    #[error(
        "cannot {call}: the provider answered with its own fault {status}, {attempts} times; see its status page, and try again"
    )]
    ServerFault {
        /// What was asked.
        call: Call,
        /// Of HTTP, 500 or above.
        status: u16,
        /// How often it was asked.
        attempts: usize,
    },
    /// Nobody could be reached.
    #[error("cannot {call}: the API does not answer; check the network of this host")]
    Unreachable {
        /// What was asked.
        call: Call,
        /// The last failure.
        #[source]
        source: Box<FetchError>,
    },
    /// A request that must not be sent twice had no answer, and what it would have made is not there.
    #[error(
        "cannot {call}: {failure}, and nothing that was made of it can be found; do it again: what appears meanwhile is found then"
    )]
    Unanswered {
        /// What was asked.
        call: Call,
        /// What came in place of an answer.
        failure: String,
    },
    /// An answer that is not as the API's description has it.
    #[error("cannot {call}: the answer is not one of this API; check the endpoint")]
    Answer {
        /// What was asked.
        call: Call,
        /// What is wrong with it.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
    /// What the provider began has failed.
    #[error(
        "cannot {call}: the provider began it, and its action {action} failed ({code}): {message}; it may have done a part of it, so look before trying again"
    )]
    ActionFailed {
        /// What was asked.
        call: Call,
        /// The number of the action.
        action: u64,
        /// A code of the provider's.
        code: Box<str>,
        /// For people.
        message: Box<str>,
    },
    /// The deadline came first.
    #[error("cannot {call}: its time was over when {doing}; it may still be done, so look before trying again")]
    TimedOut {
        /// What was asked.
        call: Call,
        /// What was waited for.
        doing: String,
    },
    /// Creating a server failed after the provider had made it.
    #[error("{}", unfinished(*server, *removed))]
    Unfinished {
        /// The number of the server.
        server: u64,
        /// Whether it was removed again.
        removed: bool,
        /// What failed.
        #[source]
        source: Box<ApiError>,
    },
    /// Another server has the name.
    #[error("cannot {call}: server {server} has this name and none of our labels; take another name, or adopt it")]
    NameTaken {
        /// What was asked.
        call: Call,
        /// Its number.
        server: u64,
    },
    /// More than one server says that it is the same machine.
    #[error(
        "cannot {call}: servers {} all have its labels; delete all but one in the provider's console",
        listed(servers)
    )]
    Ambiguous {
        /// What was asked.
        call: Call,
        /// Their numbers.
        servers: Vec<String>,
    },
    /// Something without our label is not ours to remove.
    #[error("cannot {call}: it does not have the label of this host any more; delete it in the provider's console")]
    NotOurs {
        /// What was asked.
        call: Call,
    },
    /// A text that cannot be a label.
    #[error(
        "{text:?} cannot be the label {key}: 1 to 63 letters, digits, dots, dashes and underlines, the first and the last one a letter or a digit"
    )]
    Label {
        /// The key of the label.
        key: &'static str,
        /// The text.
        text: String,
    },
    /// The provider's lists can neither be had nor were they kept.
    #[error("the provider's lists are kept in a file that cannot be used")]
    Kept(#[source] Box<StoreError>),
}

impl ApiError {
    /// Whether the thing is not there.
    #[must_use]
    pub const fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }

    /// Whether the provider could not be asked at all, so that what is known from before may count.
    #[must_use]
    pub const fn is_offline(&self) -> bool {
        matches!(
            self,
            Self::Unreachable { .. } | Self::ServerFault { .. } | Self::TimedOut { .. } | Self::RateLimited { .. }
        )
    }
}

/// What to do about a code of the provider's.
fn way_out(code: &str) -> &'static str {
    match code {
        "resource_limit_exceeded" | "limit_exceeded" => {
            "; delete what is not needed, or ask the provider for a higher limit"
        }
        "resource_unavailable" | "placement_error" | "no_space_left_in_location" => {
            "; take another server type or location, or wait until there is one"
        }
        "uniqueness_error" => "; take another name, or delete the other one",
        "protected" => "; take the protection away in the provider's console",
        "token_readonly" | "forbidden" => "; take a token that may read and write",
        "invalid_input" | "json_error" => "; change what was asked for",
        _ => "; see the code in the provider's reference",
    }
}

fn unfinished(server: u64, removed: bool) -> String {
    match removed {
        true => format!("server {server} was made and not finished; it was removed again, so try again"),
        false => format!("server {server} was made and not finished, and it is still there: delete it, since it costs"),
    }
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

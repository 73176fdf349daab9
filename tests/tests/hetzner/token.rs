//! That the right token opens, a wrong one is told, and none is shown.

use std::fs;

use cloud_machine_hetzner::{ApiError, TokenSource};
use cloud_machine_protocol::causes;

use crate::{PACE, World, new, own, soon, write_token};

const WRONG: &str = "a-wrong-token-that-nobody-may-see";

#[test]
fn a_wrong_token_is_told_without_it() {
    let world = World::new();
    let token = write_token(world.folder.path(), WRONG);
    let client = crate::client(&world.cloud.endpoint(), token.clone());
    for error in [
        client.servers("team", soon()).unwrap_err(),
        client.find_or_create(&own("a1"), &new("ci-1"), soon()).unwrap_err(),
        client.reset(1, soon()).unwrap_err(),
    ] {
        let text = format!("{error:?} {}", causes(&error));
        assert!(matches!(error, ApiError::Unauthorized { .. }), "{text}");
        assert!(text.contains(&format!("the file {}", token.display())) && text.contains("API tokens"), "{text}");
        assert!(!text.contains(WRONG), "{text}");
    }
    assert!(!format!("{client:?}").contains(WRONG));
    assert!(world.servers().is_empty());
}

#[test]
fn a_token_that_was_replaced_is_read_again() {
    let world = World::new();
    let client = crate::client(&world.cloud.endpoint(), write_token(world.folder.path(), WRONG));
    client.locations(soon()).unwrap_err();
    write_token(world.folder.path(), world.cloud.token());
    client.locations(soon()).unwrap();
    let before = world.requests("");
    client.locations(soon()).unwrap();
    assert_eq!(world.requests(""), before + 1, "what is good is kept");
}

#[test]
fn a_program_says_the_token_once() {
    let world = World::new();
    let (counted, token) = (world.folder.path().join("counted"), world.cloud.token());
    let script = format!("echo x >> {}; echo {token}", counted.display());
    let source = TokenSource::Command(["/bin/sh", "-c", &script].map(str::to_owned).to_vec());
    let client = cloud_machine_hetzner::Client::new(&world.cloud.endpoint(), source, PACE).unwrap();
    client.find_or_create(&own("a1"), &new("ci-1"), soon()).unwrap();
    assert_eq!(fs::read_to_string(counted).unwrap(), "x\n");
    assert!(!format!("{client:?}").contains(token));
}

//! Tests of where the token is and how it is read.

use std::fs::{self, Permissions};

use cloud_machine_protocol::causes;

use super::*;

const SECRET: &str = "jEheVytlAoFl7F8MqUQ7jAo2hOXASztX";

fn read(source: &TokenSource) -> Result<String, String> {
    let token = source.read(Instant::now() + Duration::from_secs(20));
    if let Ok(token) = &token {
        assert_eq!(format!("{token:?}"), "[redacted]");
    }
    token.map(|token| token.reveal().to_owned()).map_err(|error| causes(&error))
}

/// A source of a file with these bytes and this mode.
fn file(folder: &tempfile::TempDir, bytes: &[u8], mode: u32) -> TokenSource {
    let path = folder.path().join("token");
    fs::write(&path, bytes).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    TokenSource::File(path)
}

fn command(script: &str) -> TokenSource {
    TokenSource::Command(["/bin/sh", "-c", script].map(str::to_owned).to_vec())
}

#[test]
fn a_token_is_read_from_each_place() {
    let folder = tempfile::TempDir::new().unwrap();
    for mode in [0o600, 0o400] {
        assert_eq!(read(&file(&folder, format!("{SECRET}\n").as_bytes(), mode)), Ok(SECRET.to_owned()));
    }
    assert_eq!(read(&command(&format!("echo; echo ' {SECRET} '; echo noise >&2"))), Ok(SECRET.to_owned()));
    // Any variable that every process has.
    let path = env::var("PATH").unwrap();
    assert_eq!(read(&TokenSource::Environment("PATH".to_owned())), Ok(path));
}

#[test]
fn what_is_absent_empty_invalid_or_open_is_told_apart_with_the_way_out() {
    let folder = tempfile::TempDir::new().unwrap();
    let told = |source: &TokenSource| read(source).unwrap_err();
    let error = told(&TokenSource::Environment("CLOUD_MACHINE_NEVER_SET".to_owned()));
    assert!(error.contains("CLOUD_MACHINE_NEVER_SET") && error.contains("not set: export it"), "{error}");
    let error = told(&TokenSource::File("/nonexistent/token".into()));
    assert!(error.contains("there is no file /nonexistent/token") && error.contains("0600"), "{error}");
    let error = told(&TokenSource::File(folder.path().into()));
    assert!(error.starts_with("cannot read the token from the file"), "{error}");
    for mode in [0o644, 0o640, 0o604, 0o660] {
        let error = told(&file(&folder, SECRET.as_bytes(), mode));
        assert!(error.contains(&format!("has mode {mode:04o}")) && error.contains("chmod 600"), "{error}");
        assert!(!error.contains(SECRET), "{error}");
    }
    for (bytes, why) in [
        (&b""[..], "is empty"),
        (b" \n\t\n", "is empty"),
        (b"jEheVytl\njEheVytl", "several lines"),
        (b"jEheVytl jEheVytl", "white space or other"),
        (b"jEheVytl\x1b[0m", "white space or other"),
        (b"jEheVytl\xff", "white space or other"),
        (&[b'j'; 5000], "longer than 4096"),
    ] {
        let error = told(&file(&folder, bytes, 0o600));
        assert!(error.contains(why) && !error.contains("jEheVytl"), "{error}");
    }
}

#[test]
fn a_program_that_does_not_say_it_is_not_quoted() {
    let error = read(&command(&format!("echo {SECRET}; echo {SECRET} >&2; exit 3"))).unwrap_err();
    assert!(error.starts_with("/bin/sh, which is to say the token, ended with exit status: 3"), "{error}");
    assert!(!error.contains(SECRET), "{error}");
    let source = command(&format!("echo {SECRET} >&2; sleep 60"));
    let error = source.read(Instant::now() + Duration::from_millis(300)).unwrap_err();
    assert!(causes(&error).contains("did not end within") && !causes(&error).contains(SECRET), "{error}");
    let error = read(&TokenSource::Command(vec!["/nonexistent/pass".to_owned()])).unwrap_err();
    assert!(error.starts_with("cannot run /nonexistent/pass, which is to say the token"), "{error}");
    assert!(!command(&format!("echo {SECRET}")).to_string().contains(SECRET));
}

#[test]
fn documents_have_one_form_and_a_token_in_its_place_is_not_repeated() {
    for (document, source) in [
        (r#"{"env":"HCLOUD_TOKEN"}"#, TokenSource::Environment("HCLOUD_TOKEN".to_owned())),
        (r#"{"file":"/etc/token"}"#, TokenSource::File("/etc/token".into())),
        (r#"{"command":["pass","x"]}"#, TokenSource::Command(vec!["pass".to_owned(), "x".to_owned()])),
    ] {
        let read: TokenSource = serde_json::from_str(document).unwrap();
        assert_eq!(read, source);
        assert_eq!(serde_json::to_string(&source).unwrap(), document);
    }
    for document in [
        format!(r#""{SECRET}""#),
        format!(r#"{{"token":"{SECRET}"}}"#),
        format!(r#"{{"env":["{SECRET}"]}}"#),
        format!(r#"{{"env":"{SECRET}{SECRET}"}}"#),
        format!(r#"{{"env":"7{SECRET}"}}"#),
        format!(r#"{{"file":"{SECRET}"}}"#),
        format!(r#"{{"command":"{SECRET}"}}"#),
        r#"{"command":[]}"#.to_owned(),
        r#"{"command":[""]}"#.to_owned(),
        r#"{"env":"A","file":"/b"}"#.to_owned(),
        "{}".to_owned(),
    ] {
        let error = serde_json::from_str::<TokenSource>(&document).unwrap_err().to_string();
        assert!(error.starts_with(FORM) && !error.contains(SECRET), "{document}: {error}");
    }
}

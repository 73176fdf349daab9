use super::*;

const HOSTILE: &str = "a\u{1b}]0;x\u{7}\u{9b}31m\r\u{202e}b\u{2066}\u{e0041}";

#[derive(Serialize)]
struct Said {
    said: String,
}

impl Show for Said {
    const KIND: &'static str = "test";

    fn table(&self) -> String {
        format!("said {}\nend", self.said)
    }
}

struct Nothing;

impl Serialize for Nothing {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_unit()
    }
}

impl Show for Nothing {
    const KIND: &'static str = "nothing";

    fn table(&self) -> String {
        String::new()
    }
}

#[test]
fn a_table_of_nothing_has_no_line() {
    let shown = |form| Ui { form, progress_mode: ProgressMode::Silent }.form(&Nothing).unwrap();
    assert_eq!(shown(OutputForm::Table), "");
    assert!(shown(OutputForm::Json).ends_with("}\n"));
}

#[test]
fn nothing_that_a_terminal_obeys_comes_through_in_any_form_and_programs_read_what_was_said() {
    let result = Said { said: HOSTILE.to_owned() };
    let shown = |form| Ui { form, progress_mode: ProgressMode::Silent }.form(&result).unwrap();
    for form in [OutputForm::Table, OutputForm::Json, OutputForm::Yaml] {
        let text = shown(form);
        assert!(escape::is_shown_as_it_is(&text), "{text:?}");
    }
    assert!(shown(OutputForm::Table).starts_with("said a\\u{1b}]0;x"));
    let json: serde_json::Value = serde_json::from_str(&shown(OutputForm::Json)).unwrap();
    assert_eq!(json["value"]["said"], HOSTILE);
    let yaml: serde_yaml::Value = serde_yaml::from_str(&shown(OutputForm::Yaml)).unwrap();
    assert_eq!(yaml["value"]["said"], HOSTILE);
    let plain = Said { said: "größe".to_owned() };
    let plain = Ui { form: OutputForm::Yaml, progress_mode: ProgressMode::Silent }.form(&plain).unwrap();
    assert!(plain.contains("said: größe"), "{plain}");
}

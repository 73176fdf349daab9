use std::{collections::BTreeSet, sync::Mutex};

use super::*;
use crate::teller::Teller;

const PAGE: &str = include_str!("../../../docs/reference/events.md");

/// The words in backquotes that begin the rows of a table, or stand in the text, of a section of the page.
fn section(title: &str) -> BTreeSet<String> {
    let section = PAGE.split("\n## ").find(|section| section.starts_with(title)).expect("a section");
    let rows =
        section.lines().filter(|line| (line.starts_with('`') && !line.starts_with("```")) || line.starts_with("| `"));
    let first = |line: &str| {
        let words: Vec<&str> = line.split('`').skip(1).step_by(2).collect();
        if line.starts_with('|') { words.into_iter().take(1).collect::<Vec<_>>() } else { words }
            .into_iter()
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    rows.flat_map(first).collect()
}

fn name(value: impl Serialize) -> String {
    serde_json::to_value(value).unwrap().as_str().unwrap().to_owned()
}

#[test]
fn the_page_names_every_operation_and_phase() {
    // With a new one this does not compile.
    let next = |operation| match operation {
        Operation::Create => Some(Operation::Adopt),
        Operation::Adopt => Some(Operation::Start),
        Operation::Start => Some(Operation::Stop),
        Operation::Stop => Some(Operation::Reimage),
        Operation::Reimage => Some(Operation::Verify),
        Operation::Verify => Some(Operation::Plan),
        Operation::Plan => Some(Operation::Delete),
        Operation::Delete => Some(Operation::Use),
        Operation::Use => Some(Operation::Image),
        Operation::Image => None,
    };
    let all = std::iter::successors(Some(Operation::Create), |one| next(*one));
    assert_eq!(section("Operations"), all.map(name).collect());
    let next = |phase| match phase {
        Phase::EndLastBoot => Some(Phase::MakeSystemDisk),
        Phase::MakeSystemDisk => Some(Phase::Prepare),
        Phase::Prepare => Some(Phase::StartAgent),
        Phase::StartAgent => Some(Phase::AgentSteps),
        Phase::AgentSteps => Some(Phase::VerifyAndStore),
        Phase::VerifyAndStore => Some(Phase::KeepDisk),
        Phase::KeepDisk => Some(Phase::Rebuild),
        Phase::Rebuild => Some(Phase::StartSystem),
        Phase::StartSystem => Some(Phase::CloudInit),
        Phase::CloudInit => None,
    };
    let all = std::iter::successors(Some(Phase::EndLastBoot), |one| next(*one));
    assert_eq!(section("Phases"), all.map(name).collect());
}

#[test]
fn the_page_names_every_notice() {
    let source = include_str!("event.rs");
    let names = source.split("pub const fn name(&self)").nth(1).and_then(|rest| rest.split("\n    }\n").next());
    let names = names.expect("the names").split('"').skip(1).step_by(2).map(str::to_owned);
    let names: BTreeSet<String> = names.collect();
    assert!(names.len() > 15, "{names:?}");
    assert_eq!(section("Notices"), names);
}

#[test]
fn the_page_names_every_key_of_a_place() {
    let place = crate::RefusedPlace {
        document: "f.yaml".to_owned(),
        line: 1,
        column: 1,
        key: Some(String::new()),
        message: String::new(),
        allowed: Some(String::new()),
        suggestion: Some(String::new()),
    };
    let serde_json::Value::Object(keys) = serde_json::to_value(place).unwrap() else { panic!("no map") };
    assert_eq!(section("Places"), keys.keys().cloned().collect());
}

/// Remembers what it was told.
#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Observer for Heard {
    fn event(&self, event: &Event<'_>) {
        let what = match event.happening {
            Happening::Phase { phase, .. } => format!("phase {phase}"),
            Happening::Begin(task) => format!("begin {task}"),
            Happening::Progress { task, done, total } => format!("{task} {done}/{total}"),
            Happening::End(task) => format!("end {task}"),
            Happening::Notice(notice) => notice.name().to_owned(),
        };
        self.0.lock().unwrap().push(format!("{} {what}", event.machine.map(MachineName::as_str).unwrap_or("-")));
    }
}

#[test]
fn every_piece_of_work_that_begins_ends_and_a_step_is_told_escaped() {
    let (heard, machine) = (Heard::default(), "m".parse().unwrap());
    let teller = Teller::new(&heard, &machine, Operation::Reimage);
    let step = teller.agent_step("wipe\u{1b}[2J");
    assert!(step.is_step("wipe\u{1b}[2J") && !step.is_step("wipe"));
    step.progress(1, 2);
    drop(step);
    Teller::of_none(&heard, Operation::Image).notice(Notice::DirtyMapWrong);
    let heard = heard.0.into_inner().unwrap();
    assert_eq!(heard.len(), 4);
    assert!(heard.iter().all(|line| !line.contains('\u{1b}')), "{heard:?}");
    assert!(heard[0].starts_with("m begin wipe") && heard[1].ends_with(" 1/2") && heard[2].starts_with("m end wipe"));
    assert_eq!(heard[3], "- dirty_map_wrong");
}

//! `man-pages`: the manual pages of all commands, made of the help that they have. Must not say anything of its own.

use std::{fs, io, path::Path};

use clap::{Command, CommandFactory};
use clap_mangen::{
    Man,
    roff::{Roff, roman},
};

use crate::{
    arguments::Arguments,
    failure::{Failure, Kind},
};

/// Writes a page for each command into `folder`, which is there, in section 1 of the manual.
///
/// # Errors
/// When a page cannot be written.
pub(crate) fn run(folder: &Path) -> Result<(), Failure> {
    let pages = pages().map_err(Failure::during(Kind::Failed, "make the manual pages"))?;
    for (name, page) in pages {
        let path = folder.join(name);
        fs::write(&path, page).map_err(Failure::during(Kind::Failed, format!("write {}", path.display())))?;
    }
    Ok(())
}

/// The pages by their file names, in the format of man(7).
fn pages() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut whole = Arguments::command().disable_help_subcommand(true);
    whole.build();
    let mut pages = Vec::new();
    add(&whole, &mut pages)?;
    Ok(pages)
}

fn add(command: &Command, pages: &mut Vec<(String, Vec<u8>)>) -> io::Result<()> {
    let source = format!("cloud-machine {}", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).source(source).manual("cloud-machine");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    let mut below = command.get_subcommands().filter(|one| !one.is_hide_set()).peekable();
    if below.peek().is_some() {
        man.render_subcommands_section(&mut page)?;
    }
    if let Some(more) = command.get_after_help() {
        sections(&more.to_string()).to_writer(&mut page)?;
    }
    pages.push((man.get_filename(), page));
    below.try_for_each(|one| add(one, pages))
}

/// The text below a command's help. clap_mangen would run its lines together: here a line that ends with a colon begins a section,
/// lines that are indented stay as they are, and the others are paragraphs.
fn sections(text: &str) -> Roff {
    let mut page = Roff::new();
    let mut verbatim = false;
    for line in text.lines() {
        let indented = line.starts_with("  ");
        if indented != verbatim {
            page.control(if indented { "nf" } else { "fi" }, []);
            verbatim = indented;
        }
        match line.strip_suffix(':') {
            Some(heading) if !indented => page.control("SH", [heading.to_uppercase().as_str()]),
            _ if line.is_empty() => page.control("PP", []),
            _ => page.text([roman(line.strip_prefix("  ").unwrap_or(line))]),
        };
    }
    if verbatim {
        page.control("fi", []);
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_has_a_page_and_each_example_a_line_of_its_own() {
        let pages = pages().unwrap();
        let names: Vec<&str> = pages.iter().map(|(name, _)| name.as_str()).collect();
        for name in ["cloud-machine.1", "cloud-machine-create.1", "cloud-machine-image.1", "cloud-machine-image-pack.1"]
        {
            assert!(names.contains(&name), "{name} is not among {names:?}");
        }
        assert!(!names.iter().any(|name| name.contains("man-pages") || name.contains("help")), "{names:?}");
        let page = |wanted: &str| {
            let (_, page) = pages.iter().find(|(name, _)| name == wanted).unwrap();
            String::from_utf8(page.clone()).unwrap()
        };
        let create = page("cloud-machine-create.1");
        assert!(
            create.contains("\n.SH EXAMPLES\n.nf\ncloud\\-machine create demo \\-\\-image debian\\-12\n"),
            "{create}"
        );
        assert!(page("cloud-machine.1").contains("\n.SH \"EXIT CODES\"\n.nf\n0 done "), "{}", page("cloud-machine.1"));
    }
}

//! The manual page megaphone-ecm(8): the program's own arguments, and what doc/make/megaphone-ecm.8.roff adds to them.
//! `make docs` sets `WRITE_MANUAL`, with which the page is written instead of compared.

#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used)]

use std::path::Path;

use clap::{Arg, Command};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, italic, roman};

const PAGE: &str = "../../doc/man/megaphone-ecm.8";
const REST: &str = include_str!("../../../doc/make/megaphone-ecm.8.roff");

#[test]
fn the_manual_is_that_of_the_program() {
    let page = page();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    if std::env::var_os("WRITE_MANUAL").is_some() {
        std::fs::write(&path, page).unwrap();
        return;
    }
    let there = std::fs::read_to_string(&path).unwrap();
    assert!(
        there == page,
        "doc/man/megaphone-ecm.8 is not that of the program; `make docs` writes it"
    );
}

fn page() -> String {
    let command = megaphone_ecm::cli::command();
    let man = Man::new(command.clone())
        .section("8")
        .source(concat!("Megaphone ", env!("CARGO_PKG_VERSION")))
        .manual("Megaphone");
    let mut page = Vec::new();
    man.render_title(&mut page).unwrap();
    let mut top = Roff::new();
    top.control("SH", ["NAME"]);
    top.text([roman(
        "megaphone-ecm - the external connection manager of Megaphone for ejabberd",
    )]);
    top.to_writer(&mut page).unwrap();
    man.render_synopsis_section(&mut page).unwrap();
    man.render_description_section(&mut page).unwrap();
    man.render_options_section(&mut page).unwrap();
    let mut commands = Roff::new();
    commands.control("SH", ["COMMANDS"]);
    add_commands(&command, "", &mut commands);
    commands.to_writer(&mut page).unwrap();
    page.extend_from_slice(REST.as_bytes());
    String::from_utf8(page).unwrap()
}

fn add_commands(command: &Command, before: &str, page: &mut Roff) {
    let commands = command.get_subcommands();
    for command in commands.filter(|command| command.get_name() != "help") {
        let name = format!("{before}{}", command.get_name());
        let mut head = vec![bold(name.clone())];
        for value in command.get_positionals() {
            head.extend([roman(" "), italic(value.get_id().as_str().to_uppercase())]);
        }
        page.control("TP", []).text(head);
        let about = command.get_long_about().or_else(|| command.get_about());
        page.text([roman(about.unwrap().to_string().replace("\n\n", " "))]);
        let own = command.get_arguments().filter(|it| is_own(it));
        for option in own {
            page.control("RS", [])
                .control("TP", [])
                .text(head_of(option));
            page.text([roman(option.get_help().unwrap().to_string())]);
            page.control("RE", []);
        }
        add_commands(command, &format!("{name} "), page);
    }
}

/// Not those of every command.
fn is_own(option: &Arg) -> bool {
    !option.is_positional() && !["help", "version", "config"].contains(&option.get_id().as_str())
}

fn head_of(option: &Arg) -> Vec<Inline> {
    let mut head = vec![bold(format!("--{}", option.get_long().unwrap()))];
    if option.get_action().takes_values() {
        for name in option.get_value_names().unwrap_or_default() {
            head.extend([roman(" "), italic(name.to_string())]);
        }
    }
    head
}

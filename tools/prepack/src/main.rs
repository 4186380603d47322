//! `prepack`: parse, dispatch, render one error.

mod cli;
mod progress;
mod render;
mod commands;

use cli::{Cli, Command};
use progress::Screen;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse_checked();
    let screen = Screen::new();
    screen.log();
    let done = match cli.command {
        Command::Build(args) => commands::build::run(&args, &screen),
        Command::Merge(args) => commands::merge::run(&args, &screen),
        Command::Synth(args) => commands::synth::run(&args, &screen),
        Command::Verify(args) => commands::verify::run(&args, &screen),
        Command::Inspect(args) => commands::inspect::run(&args, &screen),
    };
    render::exit(done)
}

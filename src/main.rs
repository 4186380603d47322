//! `alexnet`: parse, dispatch, render one error.

use alexnet::{
    cli::{Cli, Command},
    commands, log, render,
};
use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    log::start(cli.log_format);
    let done = match cli.command {
        Command::Run(args) => commands::run::run(&args),
        Command::Eval(args) => commands::eval::run(&args),
        Command::Predict(args) => commands::predict::run(&args),
        Command::Batch(args) => commands::batch::run(&args),
        Command::Config(args) => commands::config::run(&args),
        Command::Doctor(args) => commands::doctor::run(&args),
        Command::Bench { command } => commands::bench::run(&command),
    };
    render::exit(done)
}

//! `alexnet`: parse, dispatch, render one error.

use alexnet::{
    cli::{Cli, Command},
    commands, log,
    render::{self, Hint},
};
use clap::Parser as _;
use gpu::cpu::Level;
use std::process::ExitCode;

fn main() -> ExitCode {
    let cli = Cli::parse();
    log::start(cli.log_format);
    if let Err(error) = Level::of_environment() {
        let hint = "unset it, or name one of these";
        return render::exit(Err(Hint::new(error.to_string(), hint).into()));
    }
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

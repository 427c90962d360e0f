//! The `megastats` program. Lives here: starting what the command line asks for, and saying in one
//! line why that failed. Not here: any of the work, which is the library's.

mod cli;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;
use megastats::{
    appointments::import::{self, ImportError},
    logging,
    server::{self, StartError},
    settings::{Settings, SettingsError},
};
use thiserror::Error;
use tokio::runtime::Runtime;

use crate::cli::{Cli, Command};

/// Threads for what is not a request: each of the server's workers brings its own.
const RUNTIME_THREADS: usize = 2;

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(failure) => {
            let line = one_line(&failure.to_string());
            // With standard error gone there is nobody left to tell.
            let _ = writeln!(io::stderr(), "megastats: {line}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode, Failure> {
    let settings = Settings::load(cli.config.as_deref())?;
    match cli.command.unwrap_or(Command::Serve) {
        Command::Config => {
            io::stdout()
                .write_all(settings.to_toml().as_bytes())
                .map_err(Failure::Output)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Serve => {
            // Whatever happens, what was logged is written before the program ends.
            let _log = logging::start(&settings.log, io::stderr()).map_err(Failure::Log)?;
            let runtime = runtime()?;
            let served = runtime.block_on(server::run(settings));
            // What still runs has had its time: dropping the runtime would wait for it.
            runtime.shutdown_background();
            served?;
            Ok(ExitCode::SUCCESS)
        }
        // Without a log: whatever goes wrong is in the one line that it prints.
        Command::Import(args) => {
            let report = runtime()?.block_on(import::run(&settings, &args.into()))?;
            writeln!(io::stdout(), "{}", one_line(&report.to_string())).map_err(Failure::Output)?;
            Ok(if report.is_complete() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            })
        }
    }
}

fn runtime() -> Result<Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .thread_name("megastats")
        .enable_all()
        .build()
        .map_err(Failure::Runtime)
}

/// Messages of other crates may have several lines.
fn one_line(message: &str) -> String {
    message
        .split(char::is_control)
        .map(str::trim)
        .filter(|part| !part.is_empty())
        .fold(String::new(), |mut line, part| {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(part);
            line
        })
}

/// Why the program stopped.
#[derive(Debug, Error)]
enum Failure {
    #[error(transparent)]
    Settings(#[from] SettingsError),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error("cannot start the log: {0}")]
    Log(log::SetLoggerError),
    #[error("cannot start the runtime: {0}")]
    Runtime(io::Error),
    #[error("cannot write to standard output: {0}")]
    Output(io::Error),
    #[error(transparent)]
    Import(#[from] ImportError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_of_several_lines_is_told_in_one() {
        assert_eq!(
            one_line("cannot open:\n  disk full\r\n\tsorry\n"),
            "cannot open: disk full sorry"
        );
    }
}

//! The `megastats` program: it starts what the command line asks for, and says in one line why that
//! failed. The work itself is the library's.

mod cli;

use std::{
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;
use megastats::{
    appointments::import::{self, ImportError},
    db::{self, BackupError},
    demo::{self, DemoError},
    logging,
    server::{self, StartError, StopSignal},
    settings::{Settings, SettingsError},
    text::one_line,
};
use thiserror::Error;
use tokio::runtime::Runtime;

use crate::cli::{Cli, Command};

/// Threads for what is not a request: each of the server's workers has a runtime of its own.
const RUNTIME_THREADS: usize = 2;

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(failure) => {
            let line = one_line(&failure.to_string());
            // If standard error cannot be written to, nobody can be told.
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
            // When this is dropped, all lines that were logged have been written.
            let _log = logging::start(&settings.log, io::stderr()).map_err(Failure::Log)?;
            let runtime = runtime()?;
            let served = runtime.block_on(async {
                server::run(settings, StopSignal::from_process_signals()?, |_| ()).await
            });
            // Dropping the runtime would wait for the tasks that still run, which have had their time.
            runtime.shutdown_background();
            served?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Demo { open } => {
            let _log = logging::start(&demo::settings(&settings).log, io::stderr())
                .map_err(Failure::Log)?;
            let runtime = runtime()?;
            let shown = runtime.block_on(demo::run(&settings, open));
            runtime.shutdown_background();
            shown?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Backup { target } => {
            let appointments = db::backup(&settings.database, &target)?;
            let target = one_line(&target.to_string_lossy());
            writeln!(
                io::stdout(),
                "backed up {appointments} appointments to {target}"
            )
            .map_err(Failure::Output)?;
            Ok(ExitCode::SUCCESS)
        }
        // No log is started: the one line that this prints has whatever went wrong.
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
    #[error(transparent)]
    Demo(#[from] DemoError),
    #[error(transparent)]
    Backup(#[from] BackupError),
}

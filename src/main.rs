//! The `megastats` program: it starts what the command line asks for, and says in one line why that
//! failed. The work itself is the library's.

mod cli;

use std::{
    error::Error,
    io::{self, Write},
    process::ExitCode,
};

use clap::Parser;
use megastats::{
    appointments::import,
    db, demo, logging,
    server::{self, StopSignal},
    settings::{LogSettings, Settings},
    stats::recount,
    text::one_line,
};
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

fn run(cli: Cli) -> Result<ExitCode, Box<dyn Error>> {
    let settings = Settings::load(cli.config.as_deref())?;
    match cli.command.unwrap_or(Command::Serve) {
        Command::Config => print(&settings.to_toml())?,
        Command::Serve => {
            let log = settings.log.clone();
            serve(&log, async {
                server::run(settings, StopSignal::from_process_signals()?, |_| ()).await
            })?;
        }
        Command::Demo { open } => {
            serve(&demo::settings(&settings).log, demo::run(&settings, open))?;
        }
        Command::Backup { target } => {
            let appointments = db::backup(&settings.database, &target)?;
            let target = one_line(&target.to_string_lossy());
            print(&format!(
                "backed up {appointments} appointments to {target}\n"
            ))?;
        }
        // No log is started: the one line that this prints has whatever went wrong.
        Command::Import(options) => {
            let report = runtime()?.block_on(import::run(&settings, &options))?;
            print(&format!("{}\n", one_line(&report.to_string())))?;
            if !report.is_complete() {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Recount { check: true } => {
            let differences = runtime()?.block_on(async { recount::check(&settings) })?;
            print(&format!("{differences}\n"))?;
            if !differences.is_empty() {
                return Ok(ExitCode::FAILURE);
            }
        }
        Command::Recount { check: false } => {
            let corrected = runtime()?.block_on(recount::recount(&settings))?;
            print(&format!("counts corrected: {corrected}\n"))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs `service` and the log until it ends.
fn serve<E: Error + 'static>(
    log: &LogSettings,
    service: impl Future<Output = Result<(), E>>,
) -> Result<(), Box<dyn Error>> {
    // When this is dropped, all lines that were logged have been written.
    let _log = logging::start(log, io::stderr())
        .map_err(|error| format!("cannot start the log: {error}"))?;
    let runtime = runtime()?;
    let served = runtime.block_on(service);
    // Dropping the runtime would wait for the tasks that still run, which have had their time.
    runtime.shutdown_background();
    Ok(served?)
}

fn runtime() -> Result<Runtime, String> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(RUNTIME_THREADS)
        .thread_name("megastats")
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start the runtime: {error}"))
}

fn print(text: &str) -> Result<(), String> {
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(|error| format!("cannot write to standard output: {error}"))
}

//! `megastats demo`: a service to look at. Its clinics are made up (`clinics`), and go on booking and
//! confirming while it runs (`life`). Nothing of it is left behind.

mod clinics;
mod life;

use std::{
    io::{self, Write},
    net::TcpListener,
    sync::Arc,
};

use jiff::Timestamp;
use rand::{SeedableRng, rngs::StdRng};
use thiserror::Error;

use self::{
    clinics::{CLINICS, Clinic},
    life::Life,
};
use crate::{
    appointments::{
        model::{Appointment, NewAppointment},
        store,
    },
    clock::{Clock, SystemClock},
    db::{Announce, AnyConn, Db, DbError, OpenError},
    server::{self, StartError, StopSignal},
    settings::{CacheBackend, DatabaseUrl, Settings},
    stats::zones::Zones,
};

/// The same clinics at each start.
const SEED: u64 = 2025;

/// The demo did not start, or its service failed.
#[derive(Debug, Error)]
pub enum DemoError {
    /// There is no room for its data.
    #[error("cannot make a temporary folder: {0}")]
    Folder(io::Error),
    /// Its database could not be made.
    #[error("cannot make the database: {0}")]
    Database(#[from] OpenError),
    /// Its data could not be written.
    #[error("cannot write the clinics: {0}")]
    Write(#[from] DbError),
    /// Its service failed.
    #[error(transparent)]
    Service(#[from] StartError),
}

/// The settings of the demo: where to listen and what to log as in `settings`, and without a line for
/// each request; all else by default, with warming.
pub fn settings(settings: &Settings) -> Settings {
    let mut of_demo = Settings {
        server: settings.server.clone(),
        log: settings.log.clone(),
        ..Settings::default()
    };
    of_demo.log.requests = false;
    of_demo.cache.backend = CacheBackend::Memory;
    of_demo.cache.warming.enabled = true;
    of_demo
}

/// Serves the demo until it is told to stop, and opens its page in the browser if `open`.
pub async fn run(configured: &Settings, open: bool) -> Result<(), DemoError> {
    let folder = tempfile::Builder::new().prefix("megastats-demo").tempdir();
    let folder = folder.map_err(DemoError::Folder)?;
    let mut settings = settings(configured);
    settings.database.url = DatabaseUrl::Sqlite(folder.path().join("demo.db"));
    if is_taken(&settings.server.host, settings.server.port) {
        settings.server.port = 0;
    }
    let clock = SystemClock;
    let mut rng = StdRng::seed_from_u64(SEED);
    let new = clinics::appointments(&Zones::bundled(), clock.now(), &mut rng);
    let stop = StopSignal::from_process_signals()?;
    let made = tokio::select! {
        made = fill(&settings, new, clock.now()) => made?,
        () = stop.stopped() => return Ok(()),
    };
    let stopped = stop.clone();
    let served = server::run(settings, stop, |application| {
        let life = Life::new(Arc::clone(application.stats()), made, rng);
        tokio::spawn(life.go_on(stopped));
        if let Some(address) = application.addresses().first() {
            show(&format!("http://{address}/"), open);
        }
    });
    Ok(served.await?)
}

/// Makes the database with these appointments.
async fn fill(
    settings: &Settings,
    new: Vec<NewAppointment>,
    now: Timestamp,
) -> Result<Vec<Appointment>, DemoError> {
    let db = Db::open(&settings.database, None, Announce::Changes)?;
    let write = move |conn: &mut AnyConn| store::create_all(conn, &new, now.into());
    Ok(db.write(db.write_turn(None).await?, None, write).await?)
}

fn is_taken(host: &str, port: u16) -> bool {
    let bound = TcpListener::bind((host, port));
    bound.is_err_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

/// Says where the clinics are. If nobody can be told, the demo runs all the same.
fn show(url: &str, open: bool) {
    let clinics = CLINICS
        .each_ref()
        .map(|Clinic { tenant, zone, .. }| format!("  {url}?tenantId={tenant}&tz={zone}\n"));
    let _ = write!(
        io::stdout(),
        "The demo runs at {url} until Ctrl-C. Its clinics:\n{}",
        clinics.concat()
    );
    if open && let Err(error) = open::that_detached(url) {
        log::warn!("the browser could not be started: {error}");
    }
}

//! What goes on at the demo's clinics: patients confirm and cancel, and others take their place.

use std::{sync::Arc, time::Duration};

use rand::{RngExt, rngs::StdRng};

use super::clinics::patient;
use crate::{
    appointments::{
        model::{Appointment, Changes, NewAppointment},
        store,
    },
    cache::WriteError,
    clock::{Clock, SystemClock},
    db::{AnyConn, Status},
    server::StopSignal,
    stats::service::StatsService,
    tenant::TenantId,
};

/// The time from one change at the clinics to the next, in milliseconds.
const PAUSE_MS: std::ops::Range<u64> = 500..1500;

/// The clinics, and what may happen next.
pub(super) struct Life {
    stats: Arc<StatsService>,
    /// From today on, by their start: what is not over yet.
    appointments: Vec<Appointment>,
    rng: StdRng,
}

impl Life {
    /// Goes on with `appointments`, and tells `stats` of every change.
    pub(super) fn new(
        stats: Arc<StatsService>,
        mut appointments: Vec<Appointment>,
        rng: StdRng,
    ) -> Self {
        // Whoever looks at a clinic at night sees its day move, too.
        let today = SystemClock.now() - jiff::SignedDuration::from_hours(12);
        appointments.retain(|appointment| appointment.starts_at.timestamp() >= today);
        appointments.sort_by_key(|appointment| appointment.starts_at.timestamp());
        Self {
            stats,
            appointments,
            rng,
        }
    }

    /// Has something happen every second or so, until `stop` tells to stop.
    pub(super) async fn go_on(mut self, stop: StopSignal) {
        loop {
            let pause = Duration::from_millis(self.rng.random_range(PAUSE_MS));
            tokio::select! {
                () = stop.stopped() => return,
                () = tokio::time::sleep(pause) => {}
            }
            if let Err(error) = self.happen().await {
                log::warn!("the demo could not change an appointment: {error}");
            }
        }
    }

    /// Changes one appointment, mostly one that is soon. A place that was cancelled is taken again.
    async fn happen(&mut self) -> Result<(), WriteError> {
        if self.appointments.is_empty() {
            return Ok(());
        }
        let soon = self.rng.random::<f64>().powi(3);
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "some thousand appointments, and a share of them"
        )]
        let index = (soon * self.appointments.len() as f64) as usize;
        let chosen = self.appointments[index].clone();
        let tenant = TenantId::parse(&chosen.tenant_id).expect("the clinics' names are short");
        let changed = match chosen.status {
            Status::Cancelled => Some(self.book(tenant, chosen).await?),
            Status::Pending if self.rng.random_bool(0.8) => {
                self.change(tenant, chosen.id, Status::Confirmed).await?
            }
            Status::Confirmed if self.rng.random_bool(0.6) => None,
            _ => self.change(tenant, chosen.id, Status::Cancelled).await?,
        };
        if let Some(changed) = changed {
            self.appointments[index] = changed;
        }
        Ok(())
    }

    async fn change(
        &self,
        tenant: TenantId,
        id: i64,
        status: Status,
    ) -> Result<Option<Appointment>, WriteError> {
        let changes = Changes {
            status: Some(status),
            ..Changes::default()
        };
        let owner = tenant.clone();
        let now = SystemClock.now().into();
        let write = move |conn: &mut AnyConn| store::update(conn, &owner, id, changes, now);
        self.stats.write(&tenant, write).await
    }

    /// Books the place of `cancelled` for somebody else.
    async fn book(
        &mut self,
        tenant: TenantId,
        cancelled: Appointment,
    ) -> Result<Appointment, WriteError> {
        let new = NewAppointment {
            tenant: tenant.clone(),
            patient: patient(&mut self.rng),
            consultorio_id: cancelled.consultorio_id,
            starts_at: cancelled.starts_at,
            duration_min: cancelled.duration_min,
            status: Status::Pending,
        };
        let now = SystemClock.now().into();
        let write = move |conn: &mut AnyConn| store::create(conn, &new, now);
        self.stats.write(&tenant, write).await
    }
}

//! The demo's clinics and their appointments: made up, the same at each start on the same day, and
//! within office hours of the clinic's zone.

use jiff::{
    Timestamp, ToSpan as _,
    civil::{Date, Weekday},
    tz::TimeZone,
};
use rand::{RngExt, seq::IndexedRandom};

use crate::{
    appointments::model::{NewAppointment, PatientId},
    db::Status,
    stats::zones::Zones,
    tenant::TenantId,
};

/// A made-up clinic.
pub(super) struct Clinic {
    pub(super) tenant: &'static str,
    pub(super) zone: &'static str,
    /// Consulting rooms.
    rooms: i64,
}

/// The first one is what the page shows by itself.
pub(super) const CLINICS: [Clinic; 3] = [
    Clinic {
        tenant: "default-tenant",
        zone: "America/Recife",
        rooms: 3,
    },
    Clinic {
        tenant: "clinica-jacaranda",
        zone: "America/Sao_Paulo",
        rooms: 5,
    },
    Clinic {
        tenant: "consultorio-tejo",
        zone: "Europe/Lisbon",
        rooms: 1,
    },
];

const FIRST_NAMES: [&str; 16] = [
    "Ana", "Beatriz", "Bruno", "Caio", "Clara", "Davi", "Helena", "Iara", "João", "Laura", "Luísa",
    "Marcos", "Pedro", "Rafaela", "Tiago", "Yasmin",
];
const LAST_NAMES: [&str; 16] = [
    "Almeida", "Araújo", "Barbosa", "Cardoso", "Costa", "Dias", "Ferreira", "Freitas", "Lima",
    "Melo", "Moreira", "Nunes", "Pereira", "Ramos", "Souza", "Teixeira",
];

/// The name of a patient.
pub(super) fn patient(rng: &mut impl RngExt) -> PatientId {
    let first = FIRST_NAMES.choose(rng).unwrap_or(&FIRST_NAMES[0]);
    let last = LAST_NAMES.choose(rng).unwrap_or(&LAST_NAMES[0]);
    PatientId::parse(&format!("{first} {last}")).expect("names are short")
}

/// The appointments of all clinics from the month before `now` to the month after.
pub(super) fn appointments(
    zones: &Zones,
    now: Timestamp,
    rng: &mut impl RngExt,
) -> Vec<NewAppointment> {
    let mut made = Vec::new();
    for clinic in &CLINICS {
        let zone = zones.get(clinic.zone).expect("the clinics' zones exist");
        let zone = zone.rules();
        let today = zone.to_datetime(now).date();
        let first = today.first_of_month().saturating_sub(1.month());
        let after = today.first_of_month().saturating_add(2.months());
        for date in first.series(1.day()).take_while(|date| *date < after) {
            for room in 1..=clinic.rooms {
                day(clinic, room, date, today, zone, rng, &mut made);
            }
        }
    }
    made
}

/// Adds a room's day.
fn day(
    clinic: &Clinic,
    room: i64,
    date: Date,
    today: Date,
    zone: &TimeZone,
    rng: &mut impl RngExt,
    made: &mut Vec<NewAppointment>,
) {
    let ahead = (date - today).get_days();
    let closes = match date.weekday() {
        // There is something to see today, whichever day it is.
        _ if ahead == 0 => 18,
        Weekday::Sunday => return,
        Weekday::Saturday => 12,
        _ => 18,
    };
    // Far ahead little is booked, and less of it is confirmed.
    let (booked, confirmed) = match ahead {
        ..0 => (0.85, 0.90),
        0 => (0.85, 0.65),
        1..=7 => (0.75, 0.45),
        8..=20 => (0.50, 0.20),
        _ => (0.30, 0.08),
    };
    let mut next = date.at(8, 0, 0, 0);
    while next.hour() < closes {
        let starts_at = next;
        let duration_min = *[30, 30, 30, 45, 60].choose(rng).unwrap_or(&30);
        next = starts_at.saturating_add(duration_min.minutes());
        let is_lunch = starts_at.hour() == 12;
        if is_lunch || !rng.random_bool(booked) {
            continue;
        }
        let Ok(starts_at) = zone.to_timestamp(starts_at) else {
            continue;
        };
        let status = if rng.random_bool(0.08) {
            Status::Cancelled
        } else if rng.random_bool(confirmed) {
            Status::Confirmed
        } else {
            Status::Pending
        };
        made.push(NewAppointment {
            tenant: TenantId::parse(clinic.tenant).expect("the clinics' names are short"),
            patient: patient(rng),
            consultorio_id: Some(room),
            starts_at: starts_at.into(),
            duration_min,
            status,
        });
    }
}

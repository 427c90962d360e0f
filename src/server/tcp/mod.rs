//! The sockets: where clients connect, and how long they may take.
//!
//! | file | what lives there |
//! |---|---|
//! | `addresses` | which addresses the settings allow |
//! | `listeners` | the listening sockets: opening them, and closing them without losing a client |
//! | `serve` | accepting connections, and answering requests on them |
//! | `timeouts` | how long a client may take to send a request, and to take its answer |

mod addresses;
mod listeners;
mod serve;
mod timeouts;

pub(super) use self::{
    addresses::host_addresses,
    listeners::Listeners,
    serve::{ADMIN_CONNECTIONS, serve},
    timeouts::RequestsInProgress,
};

//! The sockets: where clients connect, what is read from them when, and how long they may take.
//!
//! | file | what lives there |
//! |---|---|
//! | `addresses` | which addresses the settings allow |
//! | `listeners` | the listening sockets: opening them, and closing them without losing a client |
//! | `serve` | accepting connections, and answering requests on them |
//! | `connection` | one connection: what is read and written, and when |
//! | `current` | the request of a connection that is in progress: the next one waits for it |
//! | `outgoing` | small answers, which wait to be written together |
//! | `heads` | where a request's head ends |
//! | `timeouts` | how long a client may take to send a request, and to take its answer |

mod addresses;
mod connection;
mod current;
mod heads;
mod listeners;
mod outgoing;
mod serve;
mod timeouts;

pub(super) use self::{
    addresses::host_addresses,
    current::RequestInProgress,
    listeners::Listeners,
    serve::{ADMIN_CONNECTIONS, serve},
};

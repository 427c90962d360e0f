//! Whether the service is alive and ready, for load balancers and supervisors.

pub mod http;

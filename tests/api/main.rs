//! The promises and the contract, as clients see them: real HTTP against a service of the test's
//! own, on a free port with a database of its own.

mod harness;

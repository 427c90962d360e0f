//! The id of a request, and which request a line of the log belongs to.

use std::{cell::RefCell, future::Future};

use bytes::Bytes;
use rand::{RngExt as _, rngs::SmallRng};

/// Allowed beside letters and digits: common ids have them between their parts.
const ALLOWED: &[u8] = b"-_.:/+=";
const MAX_LENGTH: usize = 128;

thread_local! {
    /// Makes a thread's ids. They need to differ, not to be secret.
    static IDS: RefCell<SmallRng> = RefCell::new(rand::make_rng());
}

tokio::task_local! {
    static CURRENT: RequestId;
}

/// The id of a request in the logs of all services that it passes: 1 to 128 characters, each a letter
/// or digit of ASCII or one of `-_.:/+=`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(Bytes);

impl RequestId {
    /// The id that a client sent, if it has the right form.
    pub fn parse(raw: &[u8]) -> Option<Self> {
        let fits = |byte: &u8| byte.is_ascii_alphanumeric() || ALLOWED.contains(byte);
        if !(1..=MAX_LENGTH).contains(&raw.len()) || !raw.iter().all(fits) {
            return None;
        }
        Some(Self(Bytes::copy_from_slice(raw)))
    }

    /// A new id: 128 random bits in 32 hexadecimal digits.
    pub fn random() -> Self {
        let mut digits = [0; 32];
        let bits: [u8; 16] = IDS.with_borrow_mut(SmallRng::random);
        hex::encode_to_slice(bits, &mut digits).expect("two digits for each byte");
        Self(Bytes::copy_from_slice(&digits))
    }

    /// The id.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).expect("its characters are ASCII")
    }

    /// The bytes of the id. They are not copied.
    pub fn bytes(&self) -> Bytes {
        self.0.clone()
    }
}

/// Runs `work`. Its lines have `id`; those of tasks that it starts do not.
pub fn with_request_id<F: Future>(id: RequestId, work: F) -> impl Future<Output = F::Output> {
    CURRENT.scope(id, work)
}

/// What `read` makes of the id of the request in progress, if there is one.
pub(super) fn current_request_id<T>(read: impl FnOnce(&str) -> T) -> Option<T> {
    CURRENT.try_with(|id| read(id.as_str())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_short_and_of_harmless_characters() {
        for raw in ["a", "0", "b7e1-4.x_y:z/+=", &"x".repeat(128)] {
            assert_eq!(RequestId::parse(raw.as_bytes()).unwrap().as_str(), raw);
        }
        for raw in [
            "", " ", "a b", "a\n", "a\"", "{}", "é", "a,b", "a;b", "\u{7f}",
        ] {
            assert_eq!(RequestId::parse(raw.as_bytes()), None, "{raw:?}");
        }
        assert_eq!(RequestId::parse(&[b'x'; 129]), None);
        assert_eq!(RequestId::parse(&[0xff]), None);
    }

    #[test]
    fn a_made_id_is_one_and_differs() {
        let made = RequestId::random();
        assert_eq!(made.as_str().len(), 32);
        assert_eq!(
            RequestId::parse(made.as_str().as_bytes()),
            Some(made.clone())
        );
        assert_ne!(made, RequestId::random());
        let others = std::thread::spawn(|| [RequestId::random(), RequestId::random()]);
        assert!(
            !others.join().unwrap().contains(&made),
            "threads make the same ids"
        );
    }

    #[tokio::test]
    async fn the_id_is_known_within_its_request_and_nowhere_else() {
        let (one, two) = (RequestId::random(), RequestId::random());
        let seen = |id: &RequestId| {
            with_request_id(id.clone(), async {
                tokio::task::yield_now().await;
                current_request_id(str::to_owned)
            })
        };
        let (first, second) = tokio::join!(seen(&one), seen(&two));
        assert_eq!(first.as_deref(), Some(one.as_str()));
        assert_eq!(second.as_deref(), Some(two.as_str()));
        assert_eq!(current_request_id(str::to_owned), None);
    }
}

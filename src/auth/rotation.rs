//! The rotation of keys: their file is read again and again, and what it holds is used when it has changed.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::task::spawn_blocking;

use super::{
    keys::{KeyFile, Keys, KeysError},
    token::Verifier,
};
use crate::{
    clock::Clock,
    settings::AuthSettings,
    tasks::{Tasks, repeat_while_alive},
};

/// The time between two looks at the file.
const PERIOD: Duration = Duration::from_secs(2);

/// A verifier with the keys that `settings` have or name. If they name a file, the verifier gets the
/// keys of each later version of it, for as long as it is used.
pub(super) fn start(
    settings: &AuthSettings,
    clock: Arc<dyn Clock>,
    tasks: &Tasks,
) -> Result<Arc<Verifier>, KeysError> {
    let verifier = |keys| Arc::new(Verifier::new(settings, keys, clock));
    let Some(file) = KeyFile::of(settings) else {
        return Ok(verifier(Keys::load(settings)?));
    };
    let text = file.text()?;
    let verifier = verifier(file.keys(&text)?);
    tasks.background(follow(file, text, Arc::downgrade(&verifier)));
    Ok(verifier)
}

/// Reads `file` again and again, and uses its keys whenever its text is no longer the `known` one.
async fn follow(file: KeyFile, mut known: String, verifier: Weak<Verifier>) {
    let mut refusal = None;
    let look = async move |verifier: Arc<Verifier>| {
        let looked_at = file.clone();
        let read = match spawn_blocking(move || looked_at.text()).await {
            Ok(Ok(text)) if text == known && refusal.is_none() => return,
            Ok(read) => read.and_then(|text| Ok((file.keys(&text)?, text))),
            // The runtime is about to end.
            Err(_) => return,
        };
        match read {
            Ok((keys, text)) => {
                let count = keys.count();
                log::info!("{file} has changed. Keys in use from now on: {count}.");
                verifier.replace_keys(keys);
                known = text;
                refusal = None;
            }
            Err(error) => {
                let error = error.to_string();
                if refusal.as_ref() != Some(&error) {
                    log::error!("{error}. The keys from before stay in use.");
                    refusal = Some(error);
                }
            }
        }
    };
    repeat_while_alive(verifier, PERIOD, look).await;
}

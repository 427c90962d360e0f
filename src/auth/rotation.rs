//! The rotation of keys: their file is read again whenever it changes, while the service runs.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::task::spawn_blocking;

use super::{
    keys::{FileVersion, KeyFile, Keys, KeysError},
    token::Verifier,
};
use crate::{clock::Clock, settings::AuthSettings, tasks::Tasks};

/// The time between two looks at the file.
const PERIOD: Duration = Duration::from_secs(2);

/// A verifier with the keys that `settings` have or name. If they name a file, the verifier gets the
/// keys of each later version of it, for as long as it is used.
pub(super) fn start(
    settings: &AuthSettings,
    clock: Arc<dyn Clock>,
    tasks: &Tasks,
) -> Result<Arc<Verifier>, KeysError> {
    let file = KeyFile::of(settings);
    // Before it is read, so that a change in the meantime is noticed.
    let version = file.as_ref().and_then(KeyFile::version);
    let verifier = Arc::new(Verifier::new(settings, Keys::load(settings)?, clock));
    if let Some(file) = file {
        tasks.background(follow(file, version, Arc::downgrade(&verifier)));
    }
    Ok(verifier)
}

/// Reads `file` whenever it is no longer the `known` version. A file that is refused is read again at
/// each look, since it may become readable without changing.
async fn follow(file: KeyFile, mut known: Option<FileVersion>, verifier: Weak<Verifier>) {
    let mut refusal = None;
    loop {
        tokio::time::sleep(PERIOD).await;
        let Some(verifier) = verifier.upgrade() else {
            return;
        };
        let looked_at = file.clone();
        let look = spawn_blocking(move || {
            let version = looked_at.version();
            let is_new = version.is_none() || version != known;
            is_new.then(|| (version, looked_at.read()))
        });
        match look.await {
            Ok(Some((version, Ok(keys)))) => {
                log::info!(
                    "{file} has changed. Keys in use from now on: {}.",
                    keys.count()
                );
                verifier.replace_keys(keys);
                known = version;
                refusal = None;
            }
            Ok(Some((_, Err(error)))) => {
                known = None;
                let error = error.to_string();
                if refusal.as_ref() != Some(&error) {
                    log::error!("{error}. The keys from before stay in use.");
                    refusal = Some(error);
                }
            }
            // Nothing has changed, or the runtime is about to end.
            Ok(None) | Err(_) => {}
        }
    }
}

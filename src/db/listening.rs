//! A session of PostgreSQL, beside the pool, that hears what other sessions announce with NOTIFY.

use std::{sync::Arc, time::Duration};

use diesel::{QueryResult, connection::SimpleConnection};
use tokio::{sync::mpsc, task::AbortHandle};
use tokio_postgres::Notification;

use super::{
    connection::{AnyConn, DbConnection, Manager},
    error::DbError,
};

/// Announcements that wait to be heard. When there are more, the server keeps them.
const WAITING: usize = 1024;

/// Has PostgreSQL end the session within seconds when its client has vanished, and not after hours,
/// so that the locks of the session go as well.
const END_SOON: &str = "SET tcp_keepalives_idle = 1; SET tcp_keepalives_interval = 1; \
                        SET tcp_keepalives_count = 3; SET tcp_user_timeout = 3000;";

/// A session that listens. Dropping it ends the session.
pub struct ListeningSession {
    /// Nothing while a statement runs, and after one that was given up.
    connection: Option<DbConnection>,
    driver: AbortHandle,
    notifications: mpsc::Receiver<Notification>,
}

impl ListeningSession {
    pub(super) async fn open(
        manager: Arc<Manager>,
        channels: &'static [&str],
    ) -> Result<Self, DbError> {
        let (sender, notifications) = mpsc::channel(WAITING);
        let open = move || {
            let mut connection = manager.open_and_listen(Some(sender))?;
            connection.run(None, |conn| listen(conn, channels))?;
            Ok::<_, DbError>(connection)
        };
        let connection = tokio::task::spawn_blocking(open).await??;
        let driver = connection.driver.as_ref();
        let driver = driver
            .expect("only a database with a driver can be listened to")
            .abort_handle();
        Ok(Self {
            connection: Some(connection),
            driver,
            notifications,
        })
    }

    /// The next announcement; nothing once the session has ended.
    pub async fn next(&mut self) -> Option<Notification> {
        self.notifications.recv().await
    }

    /// An announcement that has come already.
    pub fn try_next(&mut self) -> Option<Notification> {
        self.notifications.try_recv().ok()
    }

    /// Runs `work` in the session, which ends if there is no result within `limit`: nothing else says
    /// that the other end has vanished.
    pub async fn run<T, F>(&mut self, limit: Duration, work: F) -> Result<T, DbError>
    where
        T: Send + 'static,
        F: FnOnce(&mut AnyConn) -> QueryResult<T> + Send + 'static,
    {
        let gone = || DbError::Unavailable(format!("no answer within {limit:?}"));
        let mut connection = self.connection.take().ok_or_else(gone)?;
        let ran = tokio::task::spawn_blocking(move || {
            let result = connection.run(None, work);
            (connection, result)
        });
        let Ok(ran) = tokio::time::timeout(limit, ran).await else {
            self.driver.abort();
            return Err(gone());
        };
        let (connection, result) = ran?;
        self.connection = Some(connection);
        result
    }
}

impl Drop for ListeningSession {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

fn listen(conn: &mut AnyConn, channels: &[&str]) -> QueryResult<()> {
    let AnyConn::Pg(conn) = conn else {
        return Err(diesel::NotFound);
    };
    conn.batch_execute(END_SOON)?;
    for channel in channels {
        conn.batch_execute(&format!("LISTEN {channel}"))?;
    }
    Ok(())
}

//! The traits of the application with boxed futures and errors, so that [`BackupCodes`] needs no
//! type parameter. A boxed call costs nothing beside the Argon2id of an operation.
//!
//! [`BackupCodes`]: crate::BackupCodes

use std::future::Future;
use std::pin::Pin;

use crate::audit::event::Event;
use crate::audit::{AuditSink, Durability};
use crate::hash::acceptance::Scheme;
use crate::id::{EventId, Revision, UserId};
use crate::policy::settings::Settings;
use crate::report::users::UsersQuery;
use crate::report::{Usage, UsageQuery, UserRow};
use crate::repository::{
    CodeRepository, Directory, Expected, Freshness, Loaded, Put, PutError, PutOutcome,
    SettingsStore,
};

/// The implementation's own error.
pub(crate) type BoxError = Box<dyn std::error::Error + Send + Sync>;

type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

fn boxed(error: impl std::error::Error + Send + Sync + 'static) -> BoxError {
    Box::new(error)
}

fn boxed_put<E: std::error::Error + Send + Sync + 'static>(
    error: PutError<E>,
) -> PutError<BoxError> {
    match error {
        PutError::NotApplied(error) => PutError::NotApplied(boxed(error)),
        PutError::Unknown(error) => PutError::Unknown(boxed(error)),
    }
}

/// A [`CodeRepository`].
pub(crate) trait AnyRepository: Send + Sync {
    fn load<'a>(
        &'a self,
        user: &'a UserId,
        freshness: Freshness,
    ) -> Boxed<'a, Result<Option<Loaded>, BoxError>>;

    fn put<'a>(&'a self, put: Put<'a>) -> Boxed<'a, Result<PutOutcome, PutError<BoxError>>>;

    fn remove<'a>(
        &'a self,
        user: &'a UserId,
        expected: Revision,
    ) -> Boxed<'a, Result<PutOutcome, PutError<BoxError>>>;

    fn undelivered(&self, limit: usize) -> Boxed<'_, Result<Vec<Event>, BoxError>>;

    fn acknowledge<'a>(&'a self, events: &'a [EventId]) -> Boxed<'a, Result<(), BoxError>>;
}

impl<R: CodeRepository> AnyRepository for R {
    fn load<'a>(
        &'a self,
        user: &'a UserId,
        freshness: Freshness,
    ) -> Boxed<'a, Result<Option<Loaded>, BoxError>> {
        Box::pin(async move {
            let loaded = CodeRepository::load(self, user, freshness).await;
            loaded.map_err(boxed)
        })
    }

    fn put<'a>(&'a self, put: Put<'a>) -> Boxed<'a, Result<PutOutcome, PutError<BoxError>>> {
        Box::pin(async move { CodeRepository::put(self, put).await.map_err(boxed_put) })
    }

    fn remove<'a>(
        &'a self,
        user: &'a UserId,
        expected: Revision,
    ) -> Boxed<'a, Result<PutOutcome, PutError<BoxError>>> {
        Box::pin(async move {
            let removed = CodeRepository::remove(self, user, expected).await;
            removed.map_err(boxed_put)
        })
    }

    fn undelivered(&self, limit: usize) -> Boxed<'_, Result<Vec<Event>, BoxError>> {
        Box::pin(async move {
            let events = CodeRepository::undelivered(self, limit).await;
            events.map_err(boxed)
        })
    }

    fn acknowledge<'a>(&'a self, events: &'a [EventId]) -> Boxed<'a, Result<(), BoxError>> {
        Box::pin(async move {
            let taken = CodeRepository::acknowledge(self, events).await;
            taken.map_err(boxed)
        })
    }
}

/// A [`Directory`].
pub(crate) trait AnyDirectory: Send + Sync {
    fn users<'a>(&'a self, query: &'a UsersQuery) -> Boxed<'a, Result<Vec<UserRow>, BoxError>>;

    fn usage<'a>(&'a self, query: &'a UsageQuery) -> Boxed<'a, Result<Usage, BoxError>>;

    fn schemes(&self) -> Boxed<'_, Result<Vec<(Scheme, u64)>, BoxError>>;
}

impl<D: Directory> AnyDirectory for D {
    fn users<'a>(&'a self, query: &'a UsersQuery) -> Boxed<'a, Result<Vec<UserRow>, BoxError>> {
        Box::pin(async move { Directory::users(self, query).await.map_err(boxed) })
    }

    fn usage<'a>(&'a self, query: &'a UsageQuery) -> Boxed<'a, Result<Usage, BoxError>> {
        Box::pin(async move { Directory::usage(self, query).await.map_err(boxed) })
    }

    fn schemes(&self) -> Boxed<'_, Result<Vec<(Scheme, u64)>, BoxError>> {
        Box::pin(async move { Directory::schemes(self).await.map_err(boxed) })
    }
}

/// A [`SettingsStore`].
pub(crate) trait AnySettingsStore: Send + Sync {
    fn load_settings(&self) -> Boxed<'_, Result<Option<(Settings, Revision)>, BoxError>>;

    fn save_settings<'a>(
        &'a self,
        expected: Expected,
        revision: Revision,
        settings: &'a Settings,
        events: &'a [Event],
    ) -> Boxed<'a, Result<PutOutcome, PutError<BoxError>>>;
}

impl<S: SettingsStore> AnySettingsStore for S {
    fn load_settings(&self) -> Boxed<'_, Result<Option<(Settings, Revision)>, BoxError>> {
        Box::pin(async move { SettingsStore::load_settings(self).await.map_err(boxed) })
    }

    fn save_settings<'a>(
        &'a self,
        expected: Expected,
        revision: Revision,
        settings: &'a Settings,
        events: &'a [Event],
    ) -> Boxed<'a, Result<PutOutcome, PutError<BoxError>>> {
        Box::pin(async move {
            let saved = SettingsStore::save_settings(self, expected, revision, settings, events);
            saved.await.map_err(boxed_put)
        })
    }
}

/// An [`AuditSink`].
pub(crate) trait AnySink: Send + Sync {
    fn record<'a>(&'a self, events: &'a [Event]) -> Boxed<'a, Result<(), BoxError>>;

    fn durability(&self) -> Durability;
}

impl<A: AuditSink> AnySink for A {
    fn record<'a>(&'a self, events: &'a [Event]) -> Boxed<'a, Result<(), BoxError>> {
        Box::pin(async move { AuditSink::record(self, events).await.map_err(boxed) })
    }

    fn durability(&self) -> Durability {
        AuditSink::durability(self)
    }
}

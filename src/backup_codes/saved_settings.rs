//! The saved settings of the site, over a [`SettingsStore`].

use std::fmt;
use std::sync::Arc;

use crate::audit::event::{Event, EventKind, EventOutcome};
use crate::backup_codes::BackupCodes;
use crate::backup_codes::boxed::AnySettingsStore;
use crate::context::Context;
use crate::error::Error;
use crate::id::Revision;
use crate::policy::Action;
use crate::policy::settings::Settings;
use crate::policy::shared_settings::{SettingsDraft, SharedSettings};
use crate::repository::{Expected, PutError, PutOutcome, SettingsStore};
use crate::timestamp::Timestamp;

/// The outcome of saving the settings.
#[must_use = "after a conflict the settings were not applied"]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SettingsSaved {
    /// The settings are in force.
    Saved,
    /// Another administrator saved first, and nothing of this draft was applied. These are the
    /// settings in force: show them, and let the administrator decide again.
    Conflict(SettingsDraft),
}

/// The settings that administrators edit and save. Cheap to clone.
///
/// It exists where the repository has a [`SettingsStore`] and the role policy is a
/// [`SharedSettings`].
#[derive(Clone)]
pub struct SavedSettings {
    codes: BackupCodes,
    store: Arc<dyn AnySettingsStore>,
    shared: SharedSettings,
}

impl fmt::Debug for SavedSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SavedSettings")
            .field("codes", &self.codes)
            .field("shared", &self.shared)
            .finish_non_exhaustive()
    }
}

impl SavedSettings {
    /// Creates the settings over their store. `shared` is the copy that `codes` was given as its
    /// role policy.
    ///
    /// ```
    #[doc = include_str!("example_begin.txt")]
    /// use backup_codes::SharedSettings;
    /// use std::time::Duration;
    ///
    /// let shared = SharedSettings::new(Duration::from_secs(60));
    /// let codes = BackupCodes::new(repository.clone(), shared.clone(), hashing);
    /// let settings = SavedSettings::new(&codes, repository, &shared);
    ///
    /// settings.refresh(now).await?;
    /// assert!(settings.edit().is_some());
    #[doc = include_str!("example_end.txt")]
    /// ```
    pub fn new(
        codes: &BackupCodes,
        store: impl SettingsStore + 'static,
        shared: &SharedSettings,
    ) -> Self {
        Self {
            codes: codes.clone(),
            store: Arc::new(store),
            shared: shared.clone(),
        }
    }

    /// Returns the settings in force, to be changed and [`save`](Self::save)d. `None` before the
    /// first [`refresh`](Self::refresh).
    ///
    /// ```
    #[doc = include_str!("example_begin.txt")]
    /// use backup_codes::SharedSettings;
    /// use std::time::Duration;
    ///
    /// let shared = SharedSettings::new(Duration::from_secs(60));
    /// let codes = BackupCodes::new(repository.clone(), shared.clone(), hashing);
    /// let settings = SavedSettings::new(&codes, repository, &shared);
    ///
    /// assert!(settings.edit().is_none());
    /// settings.refresh(now).await?;
    /// let draft = settings.edit().expect("refreshed");
    /// assert_eq!(draft.settings, Settings::default());
    #[doc = include_str!("example_end.txt")]
    /// ```
    #[must_use]
    pub fn edit(&self) -> Option<SettingsDraft> {
        self.shared.edit()
    }

    /// Reads the settings into the shared copy. Until they are first saved they are the default.
    ///
    /// ```
    #[doc = include_str!("example_begin.txt")]
    /// use backup_codes::SharedSettings;
    /// use std::time::Duration;
    ///
    /// let shared = SharedSettings::new(Duration::from_secs(60));
    /// let codes = BackupCodes::new(repository.clone(), shared.clone(), hashing);
    /// let settings = SavedSettings::new(&codes, repository, &shared);
    ///
    /// assert!(matches!(codes.status(&alice, &cx).await, Err(Error::Denied(_))));
    /// settings.refresh(now).await?;
    /// assert!(codes.status(&alice, &cx).await.is_ok());
    #[doc = include_str!("example_end.txt")]
    /// ```
    ///
    /// # Errors
    /// [`Error::Unavailable`]; the copy stays as it was, and is not used beyond its bound.
    pub async fn refresh(&self, now: Timestamp) -> Result<(), Error> {
        let saved = self
            .store
            .load_settings()
            .await
            .map_err(Error::Unavailable)?;
        let (settings, revision) = match saved {
            Some((settings, revision)) => (settings, Some(revision)),
            None => (Settings::default(), None),
        };
        self.shared.replace(settings, revision, now);
        Ok(())
    }

    /// Saves edited settings and applies them, unless another administrator has saved since the draft was begun.
    ///
    /// ```
    #[doc = include_str!("example_begin.txt")]
    /// use backup_codes::SharedSettings;
    /// use std::time::Duration;
    ///
    /// let shared = SharedSettings::new(Duration::from_secs(60));
    /// let codes = BackupCodes::new(repository.clone(), shared.clone(), hashing);
    /// let settings = SavedSettings::new(&codes, repository, &shared);
    ///
    /// use backup_codes::{SettingsSaved, Switch};
    ///
    /// settings.refresh(now).await?;
    /// let mut draft = settings.edit().expect("refreshed");
    /// draft.settings.set_switch(Switch::Off);
    /// assert_eq!(settings.save(draft, &admin_cx).await?, SettingsSaved::Saved);
    /// assert!(matches!(codes.prepare(&alice, &cx).await, Err(Error::Denied(_))));
    #[doc = include_str!("example_end.txt")]
    /// ```
    ///
    /// # Errors
    /// [`Error::Denied`] under the settings in force; [`Error::Unavailable`] when the
    /// repository fails: refresh, and see which settings are in force.
    pub async fn save(
        &self,
        draft: SettingsDraft,
        context: &Context,
    ) -> Result<SettingsSaved, Error> {
        self.codes
            .ask_about_all(Action::SaveSettings, EventKind::SaveSettings, context)
            .await?;
        let revision = Revision::random(&mut self.codes.rng.clone())?;
        let id = revision.event(0);
        let event = Event::new(
            id,
            EventKind::SaveSettings,
            EventOutcome::Success,
            None,
            context,
        );
        let events = [event];
        let expected = draft.based_on.map_or(Expected::Absent, Expected::At);
        let SettingsDraft { settings, .. } = draft;
        let saved = self
            .store
            .save_settings(expected, revision, &settings, &events)
            .await;
        match saved {
            Ok(PutOutcome::Applied) => {
                self.shared.replace(settings, Some(revision), context.now());
                self.codes.forward(&events).await;
                Ok(SettingsSaved::Saved)
            }
            Ok(PutOutcome::Conflict) => {
                self.refresh(context.now()).await?;
                let in_force = self.shared.edit().unwrap_or(SettingsDraft {
                    settings: Settings::default(),
                    based_on: None,
                });
                Ok(SettingsSaved::Conflict(in_force))
            }
            Err(PutError::NotApplied(error) | PutError::Unknown(error)) => {
                Err(Error::Unavailable(error))
            }
        }
    }
}

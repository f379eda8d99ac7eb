//! A copy of the saved settings on every node.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use crate::hash::acceptance::SKEW;
use crate::id::Revision;
use crate::policy::settings::Settings;
use crate::policy::{Decision, Denial, Request, RolePolicy};
use crate::timestamp::Timestamp;

/// The site's settings as this node last read them. Clones are cheap and share one copy.
///
/// The policy itself does no I/O. [`SavedSettings::refresh`] reads the repository; call it at start
/// and on a schedule, well within `max_age`. A copy older than `max_age`, or a missing one, denies
/// everything: a node that cannot read the settings does not trust old ones. A copy that was read
/// by a clock ahead by more than `max_age`, and more than five minutes, is not used until the next
/// refresh; one that was less ahead is used for up to that much longer. A refresh that began before
/// this node's own save may put the older copy back until the next refresh.
///
/// [`SavedSettings::refresh`]: crate::SavedSettings::refresh
#[derive(Debug, Clone)]
pub struct SharedSettings {
    copy: Arc<RwLock<Option<Arc<Copied>>>>,
    max_age: Duration,
}

#[derive(Debug)]
struct Copied {
    settings: Settings,
    revision: Option<Revision>,
    read_at: Timestamp,
    /// Set once `read_at` was seen to lie in the future: the clock was ahead when the copy was
    /// read, so the copy's age is unknown, even when the clock reaches that moment.
    read_in_the_future: AtomicBool,
}

impl Copied {
    fn is_young(&self, now: Timestamp, max_age: Duration) -> bool {
        // A request takes its time early and may be decided much later. A request with an old time
        // does not show that the clock was ahead, and must not invalidate the copy for the others.
        if self.read_at > now.saturating_add(max_age.max(SKEW)) {
            self.read_in_the_future.store(true, Ordering::Relaxed);
        }
        !self.read_in_the_future.load(Ordering::Relaxed)
            && self.read_at <= now.saturating_add(max_age)
            && now.saturating_since(self.read_at) <= max_age
    }
}

/// Edited settings, in force once saved; saving fails if another administrator saved meanwhile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettingsDraft {
    /// The new settings.
    pub settings: Settings,
    pub(crate) based_on: Option<Revision>,
}

impl SettingsDraft {
    /// Creates a draft of settings edited elsewhere, for example in a form that was sent to a
    /// browser and back together with [`based_on`](Self::based_on).
    #[must_use]
    pub fn new(settings: Settings, based_on: Option<Revision>) -> Self {
        Self { settings, based_on }
    }

    /// Returns the revision of the saved settings that were edited; `None` where none were saved
    /// yet.
    #[must_use]
    pub fn based_on(&self) -> Option<Revision> {
        self.based_on
    }
}

impl SharedSettings {
    /// Creates a copy that is not read yet, and is never used when older than `max_age`.
    #[must_use]
    pub fn new(max_age: Duration) -> Self {
        Self {
            copy: Arc::default(),
            max_age,
        }
    }

    /// Returns the settings in force as a draft, to be changed and saved with
    /// [`SavedSettings::save`](crate::SavedSettings::save). `None` before the first refresh.
    #[must_use]
    pub fn edit(&self) -> Option<SettingsDraft> {
        self.read().map(|copy| SettingsDraft {
            settings: copy.settings.clone(),
            based_on: copy.revision,
        })
    }

    /// Returns the settings in force, as last read.
    #[must_use]
    pub fn current(&self) -> Option<Settings> {
        self.read().map(|copy| copy.settings.clone())
    }

    pub(crate) fn replace(
        &self,
        settings: Settings,
        revision: Option<Revision>,
        read_at: Timestamp,
    ) {
        let copied = Copied {
            settings,
            revision,
            read_at,
            read_in_the_future: AtomicBool::new(false),
        };
        *self.copy.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(copied));
    }

    fn read(&self) -> Option<Arc<Copied>> {
        self.copy
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl RolePolicy for SharedSettings {
    fn decide(&self, request: Request<'_>) -> Decision {
        match &*self.copy.read().unwrap_or_else(PoisonError::into_inner) {
            Some(copy) if copy.is_young(request.now, self.max_age) => copy.settings.decide(request),
            _ => Decision::Deny(Denial::SettingsUnreadable),
        }
    }

    fn low_threshold(&self) -> u8 {
        self.read().map_or_else(
            || Settings::default().low_threshold(),
            |copy| copy.settings.low_threshold(),
        )
    }
}

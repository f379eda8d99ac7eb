//! The built-in role policy: the settings that an administrator changes for a whole site.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::code::SetSize;
use crate::error::value::ValueError;
use crate::id::Role;
use crate::policy::{Action, Actor, Decision, Denial, Request, RolePolicy};

/// The settings of the whole site, which administrators change. Plain data, and the built-in
/// [`RolePolicy`].
///
/// By default codes are switched on, every role may have them, the role `administrator`
/// administers, and a user with three codes left is low.
///
/// ```
/// use backup_codes::{Settings, Switch};
/// use backup_codes::policy::PermittedRoles;
///
/// let mut settings = Settings::default();
/// settings.permit_roles(["staff", "editor"]);
/// settings.set_switch(Switch::Off);
/// let json = serde_json::to_string(&settings)?;
/// assert_eq!(serde_json::from_str::<Settings>(&json)?, settings);
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, try_from = "SettingsText")]
pub struct Settings {
    switch: Switch,
    permitted: PermittedRoles,
    administrators: BTreeSet<Role>,
    low_threshold: u8,
    on_role_loss: OnRoleLoss,
}

/// The fields of [`Settings`] as they are read, not yet checked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SettingsText {
    switch: Switch,
    permitted: PermittedRoles,
    administrators: BTreeSet<Role>,
    low_threshold: u8,
    on_role_loss: OnRoleLoss,
}

impl TryFrom<SettingsText> for Settings {
    type Error = ValueError;

    fn try_from(text: SettingsText) -> Result<Self, ValueError> {
        let mut settings = Self {
            switch: text.switch,
            permitted: text.permitted,
            on_role_loss: text.on_role_loss,
            ..Self::default()
        };
        settings.set_administrators(text.administrators)?;
        settings.set_low_threshold(text.low_threshold)?;
        Ok(settings)
    }
}

/// The master switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Switch {
    /// Codes can be made and redeemed.
    On,
    /// No codes are made and none is redeemed; stored records stay as they are.
    Off,
}

/// The roles that may have codes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PermittedRoles {
    /// Every role, those added later included.
    All,
    /// These roles and no others; the set may be empty.
    Chosen(BTreeSet<Role>),
}

/// The treatment of a user who no longer has a permitted role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnRoleLoss {
    /// The user's existing codes still work; new ones cannot be made.
    KeepRedeeming,
    /// The codes stop working until the role comes back.
    StopRedeeming,
}

impl Settings {
    /// Returns the master switch.
    #[must_use]
    pub fn switch(&self) -> Switch {
        self.switch
    }

    /// Returns the roles that may have codes.
    #[must_use]
    pub fn permitted(&self) -> &PermittedRoles {
        &self.permitted
    }

    /// Returns the roles that administer other users' codes, the settings and the reports.
    #[must_use]
    pub fn administrators(&self) -> &BTreeSet<Role> {
        &self.administrators
    }

    /// Returns the treatment of a user who loses every permitted role.
    #[must_use]
    pub fn on_role_loss(&self) -> OnRoleLoss {
        self.on_role_loss
    }

    /// Returns the roles that the settings name and the application does not have: probably
    /// misspelt, or removed since.
    ///
    /// Ask at start, with all roles of the application, and tell an operator what comes back. By
    /// default the role `administrator` administers: on a site whose role is called `admin`, no user
    /// could issue an override code, unlock a user or change the settings.
    ///
    /// ```
    /// use backup_codes::Settings;
    ///
    /// let mut settings = Settings::default();
    /// assert_eq!(settings.unknown_roles(["admin", "staff"])[0].as_str(), "administrator");
    /// settings.set_administrators(["admin"])?;
    /// assert_eq!(settings.unknown_roles(["admin", "staff"]), []);
    /// # Ok::<(), backup_codes::error::ValueError>(())
    /// ```
    #[must_use]
    pub fn unknown_roles<R: Into<Role>>(&self, roles: impl IntoIterator<Item = R>) -> Vec<Role> {
        let known: BTreeSet<Role> = roles.into_iter().map(Into::into).collect();
        let permitted = match &self.permitted {
            PermittedRoles::All => None,
            PermittedRoles::Chosen(roles) => Some(roles),
        };
        let named: BTreeSet<&Role> = permitted
            .into_iter()
            .flatten()
            .chain(&self.administrators)
            .collect();
        let unknown = named.into_iter().filter(|role| !known.contains(*role));
        unknown.cloned().collect()
    }

    /// Turns codes on or off for the whole site.
    pub fn set_switch(&mut self, switch: Switch) {
        self.switch = switch;
    }

    /// Lets every role have codes, those added later included ("select all").
    pub fn permit_all_roles(&mut self) {
        self.permitted = PermittedRoles::All;
    }

    /// Lets no role have codes ("remove all").
    pub fn permit_no_roles(&mut self) {
        self.permitted = PermittedRoles::Chosen(BTreeSet::new());
    }

    /// Lets exactly these roles have codes.
    pub fn permit_roles<R: Into<Role>>(&mut self, roles: impl IntoIterator<Item = R>) {
        self.permitted = PermittedRoles::Chosen(roles.into_iter().map(Into::into).collect());
    }

    /// Makes exactly these roles administrators of backup codes.
    ///
    /// # Errors
    /// [`ValueError::NoAdministrators`] for an empty list.
    pub fn set_administrators<R: Into<Role>>(
        &mut self,
        roles: impl IntoIterator<Item = R>,
    ) -> Result<(), ValueError> {
        let roles: BTreeSet<Role> = roles.into_iter().map(Into::into).collect();
        if roles.is_empty() {
            return Err(ValueError::NoAdministrators);
        }
        self.administrators = roles;
        Ok(())
    }

    /// Sets the number of codes left at or below which a user is low on codes: 0 to 31.
    ///
    /// # Errors
    /// [`ValueError::LowThreshold`] above 31.
    pub fn set_low_threshold(&mut self, codes: u8) -> Result<(), ValueError> {
        if codes > SetSize::MAX {
            return Err(ValueError::LowThreshold);
        }
        self.low_threshold = codes;
        Ok(())
    }

    /// Sets the treatment of a user who loses every permitted role.
    pub fn set_on_role_loss(&mut self, on_role_loss: OnRoleLoss) {
        self.on_role_loss = on_role_loss;
    }

    fn permits(&self, roles: &BTreeSet<Role>) -> bool {
        match &self.permitted {
            PermittedRoles::All => true,
            PermittedRoles::Chosen(chosen) => !chosen.is_disjoint(roles),
        }
    }

    /// Checks the master switch and the subject's roles.
    fn may_hold(&self, request: &Request<'_>) -> Result<(), Denial> {
        if self.switch == Switch::Off {
            return Err(Denial::SwitchedOff);
        }
        match request.subject {
            Some(subject) if self.permits(subject.roles()) => Ok(()),
            _ => Err(Denial::RoleNotPermitted),
        }
    }

    fn may_redeem(&self, request: &Request<'_>) -> Result<(), Denial> {
        match (self.may_hold(request), self.on_role_loss) {
            (Err(Denial::RoleNotPermitted), OnRoleLoss::KeepRedeeming) => Ok(()),
            (decided, _) => decided,
        }
    }

    fn administers(&self, request: &Request<'_>) -> Result<(), Denial> {
        match request.actor {
            Actor::System => Ok(()),
            Actor::User(actor) if !self.administrators.is_disjoint(actor.roles()) => Ok(()),
            _ => Err(Denial::NotAdministrator),
        }
    }

    fn judge(&self, request: &Request<'_>) -> Result<(), Denial> {
        let own = || {
            if request.is_own() {
                Ok(())
            } else {
                Err(Denial::OnlyOwn)
            }
        };
        let somebody_else = || {
            if request.is_own() {
                Err(Denial::NotOneself)
            } else {
                Ok(())
            }
        };
        let own_or_administered = || {
            if request.is_own() {
                Ok(())
            } else {
                self.administers(request)
            }
        };
        match request.action {
            Action::Prepare | Action::Activate => own().and_then(|()| self.may_hold(request)),
            Action::Redeem | Action::Check => own().and_then(|()| self.may_redeem(request)),
            // Voiding codes and reading the status stay possible while codes are switched off.
            Action::Burn => own(),
            Action::Revoke | Action::RevokeOverride | Action::Erase | Action::ReadStatus => {
                own_or_administered()
            }
            Action::IssueOverride => somebody_else()
                .and_then(|()| self.administers(request))
                .and_then(|()| self.may_redeem(request)),
            Action::Unlock => somebody_else().and_then(|()| self.administers(request)),
            Action::ReadReports | Action::SaveSettings => self.administers(request),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            switch: Switch::On,
            permitted: PermittedRoles::All,
            administrators: BTreeSet::from([Role::from("administrator")]),
            low_threshold: 3,
            on_role_loss: OnRoleLoss::KeepRedeeming,
        }
    }
}

impl RolePolicy for Settings {
    fn decide(&self, request: Request<'_>) -> Decision {
        match self.judge(&request) {
            Ok(()) => Decision::Allow,
            Err(denial) => Decision::Deny(denial),
        }
    }

    fn low_threshold(&self) -> u8 {
        self.low_threshold
    }
}

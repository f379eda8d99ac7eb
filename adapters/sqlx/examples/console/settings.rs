//! The settings of the site.

use backup_codes::policy::OnRoleLoss;
use backup_codes::{SettingsSaved, Switch};
use serde_json::Value;

use crate::answer::{Answer, row};
use crate::command::Command;
use crate::failure::Failure;
use crate::session::{Actor, Said, Session, say};

impl Session {
    pub(crate) fn settings(&self) -> Said {
        let settings = serde_json::to_value(self.shared.current())?;
        let fields = settings.as_object().into_iter().flatten();
        let unquoted = |value: &Value| value.to_string().replace('"', "");
        let rows = fields
            .map(|(name, value)| row![name, unquoted(value)])
            .collect();
        Ok(vec![Answer::Table(&["setting", "value"], rows)])
    }

    /// Edits a draft of the settings and saves it. If another administrator saved first, the draft
    /// is not applied.
    pub(crate) async fn save_settings(
        &self,
        command: Command,
        arguments: &[&str],
        actor: &Actor,
    ) -> Said {
        let draft = self.saved.edit();
        let mut draft =
            draft.ok_or_else(|| Failure::new("the settings were not read: try again"))?;
        let settings = &mut draft.settings;
        match (command.words, arguments) {
            ("settings switch", ["on"]) => settings.set_switch(Switch::On),
            ("settings switch", ["off"]) => settings.set_switch(Switch::Off),
            ("settings permit", ["all"]) => settings.permit_all_roles(),
            ("settings permit", ["none"]) => settings.permit_no_roles(),
            ("settings permit", roles @ [_, ..]) => {
                settings.permit_roles(self.accounts.existing_roles(roles).await?);
            }
            ("settings administer", roles @ [_, ..]) => {
                settings.set_administrators(self.accounts.existing_roles(roles).await?)?;
            }
            ("settings low", [number]) => {
                settings.set_low_threshold(number.parse().map_err(|_| command.misused())?)?;
            }
            ("settings loss", ["keep"]) => settings.set_on_role_loss(OnRoleLoss::KeepRedeeming),
            ("settings loss", ["stop"]) => settings.set_on_role_loss(OnRoleLoss::StopRedeeming),
            _ => return Err(command.misused()),
        }
        match self.saved.save(draft, &actor.context).await? {
            SettingsSaved::Saved => say("saved"),
            SettingsSaved::Conflict(_) => Err(Failure::new(
                "another administrator saved first: type settings to see the current ones, then try again",
            )),
        }
    }
}

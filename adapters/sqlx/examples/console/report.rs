//! The commands that report: status, the list of users, figures, and the audit log.

use backup_codes::audit::{EventActor, EventKind};
use backup_codes::{Periods, Subject, UserFilter, UsersQuery};
use backup_codes_sqlx::AuditQuery;
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _};
use serde_json::Value;

use crate::answer::{Answer, maybe, row};
use crate::command::Command;
use crate::failure::Failure;
use crate::moment;
use crate::session::{Actor, Said, Session, say};

impl Session {
    pub(crate) async fn status(&self, user: &Subject, actor: &Actor) -> Said {
        let status = self.codes.status(user, &actor.context).await?;
        let spent =
            |slot: &&backup_codes::outcome::SlotStatus| slot.used_at.or(slot.burned_at).is_some();
        let spent = status.slots.iter().filter(spent);
        let spent: Vec<String> = spent.map(|slot| slot.slot.to_string()).collect();
        let mut rows = vec![
            row!["account", user.id()],
            row!["sheet", maybe(status.label)],
            row!["left", status.remaining],
            row!["of", status.total],
            row!["used or burned", spent.join(" ")],
            row![
                "refused",
                maybe(status.not_in_force.map(|reason| reason.as_str()))
            ],
            row!["active since", maybe(status.activated_at)],
            row!["last used", maybe(status.last_used_at)],
            row!["revoked", maybe(status.revoked_at)],
            row!["wrong in a row", status.wrong_in_a_row],
            row!["locked until", maybe(status.locked_until)],
            row!["disabled since", maybe(status.disabled_at)],
            row!["override until", maybe(status.override_until)],
            row![
                "prepared sheet",
                maybe(status.prepared.map(|prepared| prepared.label))
            ],
        ];
        rows.retain(|row| !row[1].is_empty());
        Ok(vec![Answer::Table(&["what", "value"], rows)])
    }

    pub(crate) async fn users(&self, filter: &str, command: Command, actor: &Actor) -> Said {
        let filter = match filter {
            "with" => UserFilter::WithSet,
            "holding" => UserFilter::Holding,
            "low" => UserFilter::Low,
            "exhausted" => UserFilter::Exhausted,
            "every" => UserFilter::Every,
            _ => return Err(command.misused()),
        };
        let (mut rows, cx) = (Vec::new(), &actor.context);
        let mut query = UsersQuery::new(cx.now())
            .with_filter(filter)
            .with_limit(1000);
        loop {
            let page = self.reports.users(query.clone(), cx).await?;
            rows.extend(page.iter().map(|user| {
                let (since, used) = (maybe(user.activated_at), maybe(user.last_used_at));
                row![user.user, user.remaining, user.total, since, used]
            }));
            let Some(last) = page.into_iter().last() else {
                break;
            };
            query = query.with_after(last);
        }
        let head = &["account", "left", "of", "active since", "last used"];
        Ok(vec![Answer::Table(head, rows)])
    }

    pub(crate) async fn usage(&self, days: &str, command: Command, actor: &Actor) -> Said {
        let days: u16 = days.parse().map_err(|_| command.misused())?;
        let periods = Periods::in_zone(actor.context.now(), &self.zone, days)?;
        // Counted back from today: a day that the zone skipped begins where the next one does.
        let today = Timestamp::from_millisecond(periods.today().start.unix_millis())?;
        let today = today.to_zoned_datetime(self.zone.clone());
        let labels: Vec<Date> = (0..i64::from(days))
            .rev()
            .map(|back| today.date().checked_sub(back.days()))
            .collect::<Result<_, _>>()?;
        let usage = self.reports.usage(periods, &actor.context).await?;
        let mut rows = vec![
            row!["users with codes", usage.users_with_codes],
            row!["users low", usage.users_low],
            row!["users exhausted", usage.users_exhausted],
            row!["codes used today", usage.used_today],
            row!["codes used this month", usage.used_this_month],
        ];
        let by_day = labels.iter().zip(usage.used_by_day);
        rows.extend(by_day.map(|(day, used)| row![format!("codes used on {day}"), used]));
        let zone = self.zone.iana_name().map_or_else(
            // The machine's zone is a rule without a name; summer time may change its offset.
            || format!("a zone without a name, now UTC{}", today.offset()),
            str::to_owned,
        );
        let zone = Answer::Text(format!("days and months are those of {zone}").into());
        Ok(vec![Answer::Table(&["figure", "count"], rows), zone])
    }

    pub(crate) async fn schemes(&self, actor: &Actor) -> Said {
        let schemes = self.reports.schemes(&actor.context).await?;
        let rows = schemes.into_iter().map(|kind| {
            let refused = maybe(kind.refused.map(|reason| reason.as_str()));
            row![kind.scheme, kind.users, refused]
        });
        let head = &["format, cost and key", "users", "refused"];
        Ok(vec![Answer::Table(head, rows.collect())])
    }

    pub(crate) async fn audit(&self, filters: &[&str], command: Command, actor: &Actor) -> Said {
        // The log is read from the repository, which asks no policy, so the policy is asked here.
        self.codes.authorize_reports(&actor.context).await?;

        let (mut query, mut limit) = (AuditQuery::new(), 50);
        for filter in filters.chunks(2) {
            query = match filter {
                ["user", name] => query.with_user(self.accounts.named(name).await?.id().clone()),
                ["kind", kind] => query.with_kind(kind_of(kind)?),
                ["from", time] => query.with_from(moment::read(time, &self.zone)?),
                ["until", time] => query.with_until(moment::read(time, &self.zone)?),
                ["limit", number] => {
                    limit = number.parse().map_err(|_| command.misused())?;
                    query
                }
                _ => return Err(command.misused()),
            };
        }
        let (mut rows, mut unreadable) = (Vec::new(), 0);
        while rows.len() < limit {
            let missing = u16::try_from(limit - rows.len()).unwrap_or(u16::MAX);
            let asked = query.clone().with_limit(missing);
            let page = self.store.audit_page(&asked).await?;
            unreadable += page.unreadable;
            rows.extend(page.events.into_iter().map(|event| {
                let by = match event.actor {
                    EventActor::System => "operator".to_owned(),
                    EventActor::User(user) => user.to_string(),
                };
                let outcome = format!("{:?}", event.outcome).to_lowercase();
                let why = maybe(event.reason.map(|reason| reason.as_str()));
                let (about, left) = (maybe(event.subject), maybe(event.remaining));
                row![event.at, event.kind.as_str(), outcome, why, about, by, left]
            }));
            query.after = page.next;
            if query.after.is_none() {
                break;
            }
        }
        let head = &["time", "event", "outcome", "reason", "about", "by", "left"];
        let mut said = vec![Answer::Table(head, rows)];
        if unreadable > 0 {
            let text = format!(
                "{unreadable} more events cannot be read: they are damaged, or of a newer version"
            );
            said.extend(say(text)?);
        }
        Ok(said)
    }
}

fn kind_of(word: &str) -> Result<EventKind, Failure> {
    serde_json::from_value(Value::from(word)).map_err(|_| {
        Failure::new("there is no such kind of event: type one that audit shows, such as redeem")
    })
}

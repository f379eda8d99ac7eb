//! An event as a line of JSON, under the field names of the Elastic Common Schema (ECS 8).

use serde_json::json;

use crate::audit::event::{Event, EventActor, EventKind, EventOutcome};
use crate::id::is_forging;

/// Returns an event as one line of JSON. JSON itself escapes the control characters of ASCII; the
/// others that could forge a line are escaped here, so that a reader gets each value unchanged.
pub(crate) fn line(event: &Event) -> String {
    let json = ecs(event).to_string();
    let mut line = String::with_capacity(json.len());
    for c in json.chars() {
        if is_forging(c) {
            // All of them are inside strings: compact JSON has none between.
            for unit in c.encode_utf16(&mut [0; 2]) {
                line.push_str(&format!("\\u{unit:04x}"));
            }
        } else {
            line.push(c);
        }
    }
    line
}

/// Returns an event under the field names of ECS 8.
fn ecs(event: &Event) -> serde_json::Value {
    let outcome = match event.outcome {
        EventOutcome::Success => "success",
        EventOutcome::Failure => "failure",
    };
    let mut line = json!({
        "@timestamp": event.at.to_string(),
        "ecs.version": "8.11.0",
        "event.id": event.id.to_string(),
        "event.kind": "event",
        "event.category": [category(event.kind)],
        "event.action": event.kind.as_str(),
        "event.outcome": outcome,
        "event.code": owasp_word(event.kind, event.outcome),
        "event.dataset": "backup_codes",
    });
    let mut set = |name: &str, value: Option<String>| {
        if let (Some(fields), Some(value)) = (line.as_object_mut(), value) {
            fields.insert(name.to_owned(), value.into());
        }
    };
    // A user may have any name, so the application itself has a field of its own.
    match &event.actor {
        EventActor::System => set("backup_codes.actor", Some("system".to_owned())),
        EventActor::User(user) => set("user.id", Some(user.to_string())),
    }
    set(
        "user.target.id",
        event.subject.as_ref().map(ToString::to_string),
    );
    set(
        "event.reason",
        event.reason.map(|reason| reason.as_str().to_owned()),
    );
    set(
        "client.ip",
        event.address.map(|address| address.to_string()),
    );
    set("user_agent.original", event.user_agent.clone());
    set("trace.id", event.correlation.clone());
    set("backup_codes.set", event.set.map(|set| set.to_string()));
    if let (Some(fields), Some(remaining)) = (line.as_object_mut(), event.remaining) {
        fields.insert("backup_codes.remaining".to_owned(), remaining.into());
    }
    line
}

fn category(kind: EventKind) -> &'static str {
    match kind {
        EventKind::Redeem | EventKind::Check | EventKind::Lock | EventKind::Disable => {
            "authentication"
        }
        EventKind::SaveSettings => "configuration",
        _ => "iam",
    }
}

/// Returns the event's word in the OWASP Logging Vocabulary Cheat Sheet.
fn owasp_word(kind: EventKind, outcome: EventOutcome) -> &'static str {
    match (kind, outcome) {
        (EventKind::Redeem, EventOutcome::Success) => "authn_login_success",
        (EventKind::Redeem | EventKind::Check | EventKind::Burn, EventOutcome::Failure) => {
            "authn_login_fail"
        }
        (EventKind::Lock | EventKind::Disable, _) => "authn_login_lock",
        (
            EventKind::Prepare | EventKind::Activate | EventKind::IssueOverride,
            EventOutcome::Success,
        ) => "authn_token_created",
        (
            EventKind::Revoke
            | EventKind::RevokeOverride
            | EventKind::Discard
            | EventKind::Burn
            | EventKind::Erase,
            EventOutcome::Success,
        ) => "authn_token_revoked",
        (EventKind::SaveSettings, EventOutcome::Success) => "authz_change",
        (_, EventOutcome::Failure) => "authz_fail",
        (EventKind::Unlock | EventKind::ReadStatus | EventKind::ReadReports, _) => "authz_admin",
        (EventKind::Check | EventKind::Low | EventKind::Exhausted, _) => "user_updated",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Context;
    use crate::id::EventId;
    use crate::timestamp::Timestamp;

    /// The words are those of the OWASP Logging Vocabulary Cheat Sheet that fit this crate.
    #[test]
    fn every_kind_has_a_word_of_the_vocabulary() {
        let words = [
            "authn_login_success",
            "authn_login_fail",
            "authn_login_lock",
            "authn_token_created",
            "authn_token_revoked",
            "authz_admin",
            "authz_change",
            "authz_fail",
            "user_updated",
        ];
        for kind in [
            EventKind::Prepare,
            EventKind::Activate,
            EventKind::Discard,
            EventKind::Redeem,
            EventKind::Check,
            EventKind::Burn,
            EventKind::Revoke,
            EventKind::IssueOverride,
            EventKind::RevokeOverride,
            EventKind::Unlock,
            EventKind::Erase,
            EventKind::Lock,
            EventKind::Disable,
            EventKind::Low,
            EventKind::Exhausted,
            EventKind::ReadStatus,
            EventKind::ReadReports,
            EventKind::SaveSettings,
        ] {
            for outcome in [EventOutcome::Success, EventOutcome::Failure] {
                let id = EventId::from_bytes([1; 16]);
                let event = Event::new(id, kind, outcome, None, &Context::system(Timestamp::MIN));
                let line = ecs(&event);
                let word = line["event.code"].as_str().unwrap();
                assert!(words.contains(&word), "{kind:?} {word}");
                assert_eq!(line["event.action"], kind.as_str());
                assert!(line["event.category"][0].is_string());
            }
        }
        assert_eq!(
            owasp_word(EventKind::Redeem, EventOutcome::Failure),
            "authn_login_fail"
        );
        assert_eq!(
            owasp_word(EventKind::Lock, EventOutcome::Success),
            "authn_login_lock"
        );
    }
}

//! The circumstances of an operation: actor, time, address.

use std::net::IpAddr;

use crate::id::is_forging;
use crate::policy::Actor;
use crate::timestamp::Timestamp;

/// The circumstances of one operation, as the application knows them.
///
/// The optional parts appear in the audit log only. When they are set, texts are capped in length,
/// and the characters of [`is_forging`](crate::audit::is_forging) in them are replaced.
///
/// ```
/// use backup_codes::{Context, Subject, Timestamp, UserId};
///
/// let now = Timestamp::from_unix_millis(1_790_000_000_000)?;
/// let alice = Subject::new(UserId::new("42")?, ["staff"]);
/// let cx = Context::new(now, &alice).with_address([203, 0, 113, 7]).with_user_agent("curl/8");
/// assert_eq!(cx.now(), now);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    now: Timestamp,
    actor: Actor,
    address: Option<IpAddr>,
    user_agent: Option<String>,
    correlation: Option<String>,
}

impl Context {
    /// The length in bytes to which user agents are cut.
    pub const MAX_USER_AGENT_LEN: usize = 256;
    /// The length in bytes to which correlation ids are cut.
    pub const MAX_CORRELATION_LEN: usize = 128;

    /// Creates the circumstances of an operation at this time by this actor. For a redeem the actor
    /// is the user whom the first factor has identified.
    #[must_use]
    pub fn new(now: Timestamp, actor: impl Into<Actor>) -> Self {
        Self {
            now,
            actor: actor.into(),
            address: None,
            user_agent: None,
            correlation: None,
        }
    }

    /// Creates the circumstances of an operation by the application itself: a scheduled task, an
    /// operator's console.
    #[must_use]
    pub fn system(now: Timestamp) -> Self {
        Self::new(now, Actor::System)
    }

    /// Sets the client's address. Take it from a proxy's header only if the proxy is yours.
    #[must_use]
    pub fn with_address(mut self, address: impl Into<IpAddr>) -> Self {
        self.address = Some(address.into());
        self
    }

    /// Sets the client's user agent.
    #[must_use]
    pub fn with_user_agent(mut self, user_agent: &str) -> Self {
        self.user_agent = Some(one_line(user_agent, Self::MAX_USER_AGENT_LEN));
        self
    }

    /// Sets an id that joins the events of this operation to the application's own logs, such as a
    /// request id.
    #[must_use]
    pub fn with_correlation(mut self, id: &str) -> Self {
        self.correlation = Some(one_line(id, Self::MAX_CORRELATION_LEN));
        self
    }

    /// Returns the time of the operation.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Returns the actor.
    #[must_use]
    pub fn actor(&self) -> &Actor {
        &self.actor
    }

    /// Returns the client's address.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Returns the client's user agent, capped and on one line.
    #[must_use]
    pub fn user_agent(&self) -> Option<&str> {
        self.user_agent.as_deref()
    }

    /// Returns the correlation id, capped and on one line.
    #[must_use]
    pub fn correlation(&self) -> Option<&str> {
        self.correlation.as_deref()
    }
}

/// Returns a text of at most `max` bytes in which forging characters are replaced, so that no sink
/// writes a forged line (ASVS 5.0, 16.4.1).
fn one_line(text: &str, max: usize) -> String {
    let mut line = String::new();
    for c in text.chars() {
        let c = if is_forging(c) { '\u{fffd}' } else { c };
        if line.len() + c.len_utf8() > max {
            break;
        }
        line.push(c);
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_capped_at_a_character_and_kept_on_one_line() {
        let cx = Context::system(Timestamp::MIN).with_user_agent(&"ä".repeat(200));
        assert_eq!(cx.user_agent().unwrap().len(), 256);
        let cx = cx.with_correlation("a\r\nb\u{2028}c\u{202e}d");
        assert_eq!(
            cx.correlation(),
            Some("a\u{fffd}\u{fffd}b\u{fffd}c\u{fffd}d")
        );
    }

    #[test]
    fn texts_hold_no_forging_character() {
        for c in ('\0'..=char::MAX).filter(|c| is_forging(*c)) {
            let text = format!("a{c}b");
            let cx = Context::system(Timestamp::MIN)
                .with_user_agent(&text)
                .with_correlation(&text);
            assert_eq!(cx.user_agent(), Some("a\u{fffd}b"), "{c:?}");
            assert_eq!(cx.correlation(), Some("a\u{fffd}b"), "{c:?}");
        }
    }
}

//! Comparing a password, under limits on tries.

use std::net::IpAddr;
use std::time::Duration;

use backup_codes::{Timestamp, UserId};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::app::App;
use crate::error_pages::PageError;
use crate::session::Visitor;
use crate::throttle::Throttle;

pub(crate) const WRONG_PASSWORD: &str = "This is not your password. Nothing was changed.";

/// A password typed again, for actions that a stolen session must not allow.
#[derive(Deserialize)]
pub(crate) struct FreshPassword {
    pub(crate) password: Zeroizing<String>,
}

/// The place where a password is typed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    /// The login form, requested from this address.
    Login(Option<IpAddr>),
    /// A page of a signed-in user.
    SignedIn,
}

/// The limits on attempts of passwords. An attacker who guesses the password of a name from one
/// address does not use up its owner's attempts from another address, and never those of users who
/// are signed in.
#[derive(Debug)]
pub(crate) struct PasswordTries {
    /// By name and address.
    by_both: Throttle,
    /// By name, from all addresses together.
    by_name: Throttle,
    /// By address, whatever the names: few enough attempts that they cannot fill the buckets of
    /// other users.
    by_address: Throttle,
    signed_in: Throttle,
}

impl PasswordTries {
    pub(crate) fn new() -> Self {
        Self {
            by_both: Throttle::new(20),
            by_name: Throttle::new(1000),
            by_address: Throttle::new(1000),
            signed_in: Throttle::new(20),
        }
    }

    /// Returns what counts an attempt: the throttles, the key in each, and what a right password
    /// does there.
    fn counted(&self, name: &str, place: Place) -> Vec<(&Throttle, String, AfterRight)> {
        let Place::Login(address) = place else {
            return vec![(&self.signed_in, name.to_owned(), AfterRight::Forget)];
        };
        // A /64 belongs to one household or one machine.
        let address = match address {
            Some(IpAddr::V6(address)) => format!("{:x}", address.to_bits() >> 64),
            Some(IpAddr::V4(address)) => address.to_string(),
            None => "nowhere".to_owned(),
        };
        vec![
            (&self.by_address, address.clone(), AfterRight::TakeBack),
            (
                &self.by_both,
                format!("{address} {name}"),
                AfterRight::Forget,
            ),
            (&self.by_name, name.to_owned(), AfterRight::Keep),
        ]
    }

    /// Counts an attempt before it is made. `Err` is the time to wait; then the attempt was not
    /// counted.
    fn begin(&self, name: &str, place: Place, now: Timestamp) -> Result<(), Duration> {
        let counted = self.counted(name, place);
        for (number, (tries, key, _)) in counted.iter().enumerate() {
            if let Err(wait) = tries.begin(key, now) {
                for (tries, key, _) in &counted[..number] {
                    tries.take_back(key);
                }
                return Err(wait);
            }
        }
        Ok(())
    }

    /// Records the result of an attempt: right, wrong, or `None` without a verdict.
    fn end(&self, name: &str, place: Place, right: Option<bool>) {
        for (tries, key, after_right) in self.counted(name, place) {
            match (right, after_right) {
                (Some(true), AfterRight::Forget) => drop(tries.clear(&key)),
                (Some(true), AfterRight::TakeBack) | (None, _) => tries.take_back(&key),
                (Some(true), AfterRight::Keep) | (Some(false), _) => {}
            }
        }
    }
}

/// The effect of a right password on the attempts before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AfterRight {
    /// The attempts before it are forgotten.
    Forget,
    /// The attempts before it stay, and this one does not count: right passwords of an attacker's
    /// own account must not clear wrong guesses at others.
    TakeBack,
    /// The attempts before it stay, and this one counts: it may be a lucky guess.
    Keep,
}

/// Returns whether a password is right, within the limits on attempts. Without a hash the answer is
/// no, at the same cost.
pub(crate) async fn password_is_right(
    app: &App,
    name: &str,
    place: Place,
    typed: &str,
    hash: Option<&str>,
) -> Result<bool, PageError> {
    app.password_tries
        .begin(name, place, app.now())
        .map_err(PageError::too_many)?;
    let verified = app.passwords.verify(typed, hash).await;
    let right = verified.as_ref().ok().copied();
    app.password_tries.end(name, place, right);
    // Of a name that does not exist, only the attempt is logged: the name may be a code, typed into
    // the wrong field.
    if matches!(verified, Ok(false)) {
        let user = UserId::new(if hash.is_some() { name } else { "nobody" });
        tracing::warn!(
            user = user.ok().map(tracing::field::display),
            "wrong password"
        );
    }
    Ok(verified?)
}

/// Returns whether this is the signed-in user's password.
pub(crate) async fn is_users_own(
    app: &App,
    visitor: &Visitor,
    typed: &str,
) -> Result<bool, PageError> {
    let user = &visitor.user;
    password_is_right(app, &user.id, Place::SignedIn, typed, Some(&user.password)).await
}

#[cfg(test)]
mod tests {
    use axum::http::StatusCode;
    use axum::response::IntoResponse as _;
    use tempfile::TempDir;

    use super::*;
    use crate::app::Options;

    #[tokio::test]
    async fn a_right_password_clears_the_tries_before_it_and_no_verdict_is_no_try() {
        let folder = TempDir::new().unwrap();
        let options = Options {
            password_cost: backup_codes::hash::Cost::LEAST,
            ..Options::new(folder.path().join("web.db"))
        };
        let app = App::open(options).await.unwrap();
        let alice = app.users.find("alice").await.unwrap().unwrap();
        let try_one = async |typed: &str| {
            let place = Place::Login(Some([203, 0, 113, 7].into()));
            password_is_right(&app, "alice", place, typed, Some(&alice.password)).await
        };
        let wrong = async |times: usize| {
            for _ in 0..times {
                assert!(!try_one("wrong").await.unwrap());
            }
        };
        wrong(19).await;
        assert!(try_one("apple-garden-7").await.unwrap());
        // No password can be checked while all places are taken.
        let places = app.passwords.take_all_places();
        for _ in 0..30 {
            let response = try_one("wrong").await.unwrap_err().into_response();
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert!(response.headers().contains_key("retry-after"));
        }
        drop(places);
        wrong(20).await;
        let response = try_one("apple-garden-7").await.unwrap_err().into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
    }

    #[test]
    fn tries_are_those_of_a_place_a_name_and_both() {
        let tries = PasswordTries::new();
        let now = Timestamp::from_unix_millis(1_790_000_000_000).unwrap();
        let at = |address: &str| Place::Login(Some(address.parse().unwrap()));
        let may = |name: &str, place| tries.begin(name, place, now).is_ok();
        let wrong = |name: &str, place, times: u32| {
            for number in 0..times {
                assert!(may(name, place), "{name} {place:?} {number}");
                tries.end(name, place, Some(false));
            }
        };
        let right = |name: &str, place| {
            assert!(may(name, place), "{name} {place:?}");
            tries.end(name, place, Some(true));
        };

        // One name from one /64 is at its limit; from other addresses, and for signed-in users,
        // attempts are left.
        wrong("alice", at("2001:db8::1"), 20);
        assert!(!may("alice", at("2001:db8::ffff")));
        right("alice", at("2001:db8:0:1::1"));
        right("alice", Place::SignedIn);
        right("bob", at("2001:db8::1"));

        // A right password forgets the attempts before it, of the same name and address.
        wrong("carol", at("192.0.2.1"), 19);
        right("carol", at("192.0.2.1"));
        wrong("carol", at("192.0.2.1"), 20);
        assert!(!may("carol", at("192.0.2.1")));
        // A refused attempt did not count for that address either.
        for number in 0..2000 {
            assert!(!may("carol", at("192.0.2.1")), "{number}");
        }
        right("bob", at("192.0.2.1"));

        // An address has a thousand wrong attempts, whatever the names; right ones in between do
        // not count, and clear none.
        for number in 0..1000 {
            right("dave", at("192.0.2.2"));
            wrong(&format!("nobody{}", number % 50), at("192.0.2.2"), 1);
            if number == 400 {
                // A name has a thousand attempts from all addresses together, right ones included.
                assert!(may("dave", at("192.0.2.3")));
                tries.end("dave", at("192.0.2.3"), None);
            }
        }
        assert!(!may("erin", at("192.0.2.2")));
        assert!(!may("dave", at("192.0.2.3")));
        assert!(may("erin", at("192.0.2.3")));
    }
}

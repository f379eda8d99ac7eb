//! Comparing a password, under limits on tries.

use std::net::IpAddr;

use serde::Deserialize;

use crate::app::App;
use crate::error_pages::PageError;
use crate::passwords::PasswordError;
use crate::session::Visitor;
use crate::throttle::Throttle;

pub(crate) const WRONG_PASSWORD: &str = "This is not your password. Nothing was changed.";

/// A password typed anew, for what a borrowed session must not do.
#[derive(Deserialize)]
pub(crate) struct FreshPassword {
    pub(crate) password: String,
}

/// Where a password is typed.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    /// The login form, from this address.
    Login(Option<IpAddr>),
    /// A page of somebody who is signed in.
    SignedIn,
}

/// Tries of passwords. Who guesses a name from somewhere does not use up the tries of its owner
/// elsewhere, and nobody those of users who are signed in.
#[derive(Debug)]
pub(crate) struct PasswordTries {
    /// By name and address.
    by_both: Throttle,
    /// By name, from all addresses together.
    by_name: Throttle,
    /// By address, whatever the names: they are few enough not to fill the buckets of others.
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

    /// What a try is counted by: where, under which key, and whether a right one forgets those before.
    fn counted(&self, name: &str, place: Place) -> Vec<(&Throttle, String, AfterRight)> {
        let Place::Login(address) = place else {
            return vec![(&self.signed_in, name.to_owned(), AfterRight::Forget)];
        };
        // A /64 is one household's or one machine's.
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
}

/// What a right password does to the tries before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum AfterRight {
    /// They are forgotten.
    Forget,
    /// They stay, and this one is none: one's own right passwords must not forget wrong ones.
    TakeBack,
    /// They stay, and this one is one of them: it may be a guess that hit.
    Keep,
}

/// Compares a password; without a hash at the same cost.
pub(crate) async fn password_is_right(
    app: &App,
    name: &str,
    place: Place,
    typed: &str,
    hash: Option<&str>,
) -> Result<bool, PageError> {
    let counted = app.password_tries.counted(name, place);
    for (number, (tries, key, _)) in counted.iter().enumerate() {
        if let Err(wait) = tries.begin(key, app.now()) {
            for (tries, key, _) in &counted[..number] {
                tries.take_back(key);
            }
            return Err(PageError::too_many(wait));
        }
    }
    let verified = app.passwords.verify(typed, hash).await;
    for (tries, key, after_right) in &counted {
        match (&verified, after_right) {
            (Ok(true), AfterRight::Forget) => tries.clear(key),
            (Ok(true), AfterRight::TakeBack)
            | (Err(PasswordError::Busy | PasswordError::Failed(_)), _) => tries.take_back(key),
            (Ok(true), AfterRight::Keep) | (Ok(false), _) => {}
        }
    }
    // Of names that do not exist only that they were typed: it may be a code, in the wrong field.
    if matches!(verified, Ok(false)) {
        let user = if hash.is_some() { name } else { "nobody" };
        tracing::warn!(user = %user.escape_debug(), "wrong password");
    }
    Ok(verified?)
}

/// Whether this is the password of whoever is signed in.
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
            password_cost: backup_codes::Cost::LEAST,
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
        // Nobody can be compared with while all places are taken.
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

    #[tokio::test]
    async fn one_place_with_many_names_uses_up_its_own_tries() {
        let folder = TempDir::new().unwrap();
        let options = Options {
            password_cost: backup_codes::Cost::LEAST,
            ..Options::new(folder.path().join("web.db"))
        };
        let app = App::open(options).await.unwrap();
        let alice = app.users.find("alice").await.unwrap().unwrap();
        let (here, elsewhere) = ([203, 0, 113, 7], [198, 51, 100, 4]);
        for number in 0..1000 {
            let (name, place) = (format!("nobody{number}"), Place::Login(Some(here.into())));
            let right = password_is_right(&app, &name, place, "x", None).await;
            assert!(!right.unwrap());
        }
        let log_in = async |place| {
            let typed = "apple-garden-7";
            password_is_right(&app, "alice", place, typed, Some(&alice.password)).await
        };
        let refused = log_in(Place::Login(Some(here.into()))).await;
        let status = refused.unwrap_err().into_response().status();
        assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
        for place in [Place::Login(Some(elsewhere.into())), Place::SignedIn] {
            assert!(log_in(place).await.unwrap(), "{place:?}");
        }
    }
}

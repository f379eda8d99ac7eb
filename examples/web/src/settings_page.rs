//! Settings, backup codes: the main switch, the permitted roles, the usage figures, the list of
//! users.

use std::collections::BTreeSet;
use std::sync::Arc;

use askama::Template;
use axum::Form;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use backup_codes::policy::{
    Action, Decision, Denial, OnRoleLoss, PermittedRoles, Request, Role, RolePolicy as _,
};
use backup_codes::report::UserRow;
use backup_codes::{
    Periods, Settings, SettingsDraft, SettingsSaved, Switch, Usage, UserFilter, UserOrder,
    UsersQuery,
};
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::error_pages::PageError;
use crate::frame::{Frame, done, draw};
use crate::session::{SignedIn, Visitor, has_second_factor};
use crate::users::{ROLES, User};
use crate::zone::Moment;

const PAGE: &str = "/settings/backup-codes";

/// The number of users on a page.
const ROWS: u16 = 25;

/// The most users that a search finds, which is the most that the directory lists at once.
const FOUND: u16 = 1000;

const FILTERS: [(&str, &str, UserFilter); 4] = [
    ("holding", "With codes left", UserFilter::Holding),
    ("all", "With a sheet", UserFilter::WithSet),
    ("low", "Low on codes", UserFilter::Low),
    ("exhausted", "With no codes left", UserFilter::Exhausted),
];

const ORDERS: [(&str, &str, UserOrder); 4] = [
    ("user", "User name", UserOrder::User),
    ("left", "Fewest left", UserOrder::FewestLeft),
    ("generated", "Newest sheet", UserOrder::NewestSet),
    ("used", "Latest use", UserOrder::LatestUse),
];

/// The choice of a page of the list: search, filter, order and position.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct List {
    q: String,
    filter: String,
    sort: String,
    /// The last row of the previous page.
    #[serde(skip_serializing_if = "String::is_empty")]
    after: String,
    /// The time at which the link Refresh was shown. It makes the link's address differ from the
    /// page's: a browser does not reload the same address when it ends in `#users`.
    #[serde(skip_serializing_if = "String::is_empty")]
    at: String,
}

impl List {
    /// Returns the query string for the same list after this row.
    fn link(&self, after: &str, at: &str) -> Result<String, PageError> {
        let list = Self {
            after: after.to_owned(),
            at: at.to_owned(),
            ..self.clone()
        };
        serde_urlencoded::to_string(list).map_err(|error| PageError::broken(&error))
    }
}

/// An option of a drop-down list or a check box.
#[derive(Debug)]
struct Choice {
    id: &'static str,
    name: &'static str,
    chosen: bool,
}

/// A row of the list.
#[derive(Debug)]
struct Line {
    id: String,
    name: String,
    roles: String,
    /// True if the user still exists.
    known: bool,
    left: u8,
    total: u8,
    generated: Option<Moment>,
    used: Option<Moment>,
}

/// The list of users.
#[derive(Debug)]
struct Lines {
    q: String,
    filters: Vec<Choice>,
    sorts: Vec<Choice>,
    lines: Vec<Line>,
    /// The links: reload this page and, where they exist, the first and the next page.
    refresh: String,
    first_page: Option<String>,
    next_page: Option<String>,
    /// The users found by the search who are on no page of the list. They are named on its first
    /// page.
    others: Vec<User>,
    /// The number of such users who are not named.
    more_others: usize,
    /// True if the search found more users than it can pass to the directory.
    too_many: bool,
}

/// The form as it is shown: the current settings, or the ones about to be saved.
#[derive(Debug)]
struct SettingsForm {
    on: bool,
    roles: Vec<Choice>,
    low_threshold: String,
    /// The saved state that is being edited; empty where nothing was saved yet.
    based_on: String,
    /// True if the settings shown differ from the current ones.
    changed: bool,
    /// True if users who lose a role can still redeem their codes. This page does not change it.
    keeps_codes: bool,
}

/// One day of the chart.
#[derive(Debug)]
struct Bar {
    day: String,
    count: u64,
    x: usize,
    y: u64,
    height: u64,
    /// True if the day is written below its bar.
    named: bool,
}

#[derive(Debug)]
struct Figures {
    usage: Usage,
    bars: Vec<Bar>,
    most: u64,
    total: u64,
    zone: String,
}

#[derive(Template)]
#[template(path = "settings.html")]
struct SettingsPage {
    frame: Frame,
    form: SettingsForm,
    figures: Figures,
    list: Lines,
}

impl SettingsForm {
    fn new(draft: &SettingsDraft) -> Self {
        let permitted = |role: &str| match draft.settings.permitted() {
            PermittedRoles::All => true,
            PermittedRoles::Chosen(roles) => roles.iter().any(|chosen| chosen.as_str() == role),
        };
        Self {
            on: draft.settings.switch() == Switch::On,
            roles: role_choices(permitted),
            low_threshold: draft.settings.low_threshold().to_string(),
            based_on: draft
                .based_on()
                .map(|it| it.to_string())
                .unwrap_or_default(),
            changed: false,
            keeps_codes: keeps_codes(draft),
        }
    }

    fn tick_all(&mut self, on: bool) {
        for role in &mut self.roles {
            role.chosen = on;
        }
        self.changed = true;
    }
}

fn role_choices(chosen: impl Fn(&str) -> bool) -> Vec<Choice> {
    let choice = |role: &crate::users::SiteRole| Choice {
        id: role.id,
        name: role.name,
        chosen: chosen(role.id),
    };
    ROLES.iter().map(choice).collect()
}

pub(crate) async fn show(
    State(app): State<Arc<App>>,
    SignedIn(visitor): SignedIn,
    Query(list): Query<List>,
) -> Result<Response, PageError> {
    let form = SettingsForm::new(&in_force(&app)?);
    let frame = Frame::of(&app, &visitor, "settings").await?;
    page(&app, &visitor, frame, form, list).await
}

/// Returns a draft of the current settings.
fn in_force(app: &App) -> Result<SettingsDraft, PageError> {
    let unreadable = || backup_codes::Error::Denied(Denial::SettingsUnreadable);
    Ok(app.settings.edit().ok_or_else(unreadable)?)
}

fn keeps_codes(draft: &SettingsDraft) -> bool {
    draft.settings.on_role_loss() == OnRoleLoss::KeepRedeeming
}

async fn page(
    app: &App,
    visitor: &Visitor,
    frame: Frame,
    form: SettingsForm,
    list: List,
) -> Result<Response, PageError> {
    let periods = app.zone.periods(app.now())?;
    let usage = app.reports.usage(periods.clone(), &visitor.context).await?;
    draw(&SettingsPage {
        frame,
        form,
        figures: figures(app, usage, &periods),
        list: lines(app, visitor, list).await?,
    })
}

/// The fields of the form as sent; a field may repeat.
struct Sent(Vec<(String, String)>);

impl Sent {
    fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = move |field: &&(String, String)| field.0 == name;
        self.0.iter().filter(named).map(|field| &*field.1)
    }

    fn one<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.all(name).next()
    }
}

/// Saves the settings, or ticks the boxes for browsers without script.
pub(crate) async fn save(
    State(app): State<Arc<App>>,
    SignedIn(visitor): SignedIn,
    Form(sent): Form<Vec<(String, String)>>,
) -> Result<Response, PageError> {
    // Only administrators get a page, whatever the form says. `save` asks the policy again below.
    app.codes.authorize_reports(&visitor.context).await?;
    let sent = Sent(sent);
    let frame = Frame::of(&app, &visitor, "settings").await?;
    let roles: BTreeSet<&str> = sent.all("role").collect();
    if roles
        .iter()
        .any(|role| ROLES.iter().all(|known| known.id != *role))
    {
        return Err(PageError::unprocessable("This site has no such role."));
    }
    let mut form = SettingsForm {
        on: sent.one("switch").is_some(),
        roles: role_choices(|role| roles.contains(role)),
        low_threshold: sent.one("low_threshold").unwrap_or_default().to_owned(),
        based_on: sent.one("based_on").unwrap_or_default().to_owned(),
        changed: true,
        keeps_codes: keeps_codes(&in_force(&app)?),
    };
    match sent.one("do") {
        Some("select_all") => {
            form.tick_all(true);
            let frame = frame.saying(
                true,
                "All roles are selected. Save the changes to apply them.",
            );
            return page(&app, &visitor, frame, form, List::default()).await;
        }
        Some("remove_all") => {
            form.tick_all(false);
            let frame = frame.saying(true, "No role is selected. Save the changes to apply them.");
            return page(&app, &visitor, frame, form, List::default()).await;
        }
        _ => {}
    }
    let based_on = match &*form.based_on {
        "" => None,
        text => Some(text.parse().map_err(|_| {
            PageError::unprocessable("The form is incomplete. Load the page again.")
        })?),
    };
    // What the form does not show is taken from the settings it was drawn from, not from this
    // node's older cache. If those settings are no longer the current ones, neither is the form.
    let mut current = in_force(&app)?;
    if current.based_on() != based_on {
        app.refresh_settings().await?;
        current = in_force(&app)?;
        if current.based_on() != based_on {
            return conflict(&app, &visitor, frame, &form, &current).await;
        }
    }
    let mut settings = current.settings;
    settings.set_switch(if form.on { Switch::On } else { Switch::Off });
    if roles.len() == ROLES.len() {
        settings.permit_all_roles();
    } else {
        // Keeps roles that this page does not know as they were.
        let kept = match settings.permitted() {
            PermittedRoles::Chosen(chosen) => chosen.clone(),
            PermittedRoles::All => BTreeSet::new(),
        };
        let unknown = kept
            .into_iter()
            .filter(|role| ROLES.iter().all(|known| known.id != role.as_str()));
        settings.permit_roles(roles.iter().copied().map(Role::from).chain(unknown));
    }
    let threshold = form.low_threshold.trim().parse().ok();
    let set = threshold.map(|threshold| settings.set_low_threshold(threshold));
    if !matches!(set, Some(Ok(()))) {
        let text = "Nothing was saved: the low threshold is a number from 0 to 31.";
        return again(&app, &visitor, frame.saying(false, text), form).await;
    }
    if shuts_out(&app, &visitor, &settings).await? {
        let text = "Nothing was saved: backup codes are your only second factor, and you could \
                    not log in again. Set up an authenticator app first.";
        return again(&app, &visitor, frame.saying(false, text), form).await;
    }
    let draft = SettingsDraft::new(settings, based_on);
    match app.settings.save(draft, &visitor.context).await? {
        SettingsSaved::Saved => done(&visitor, "The changes are saved and in effect.", PAGE).await,
        SettingsSaved::Conflict(in_force) => {
            conflict(&app, &visitor, frame, &form, &in_force).await
        }
    }
}

/// Shows the current settings after a conflict: another administrator saved first.
async fn conflict(
    app: &App,
    visitor: &Visitor,
    frame: Frame,
    form: &SettingsForm,
    in_force: &SettingsDraft,
) -> Result<Response, PageError> {
    let text = format!(
        "Your changes were not saved: another administrator saved first. This page shows the \
         settings in effect now. You wanted: {}.",
        wish(form)
    );
    let form = SettingsForm::new(in_force);
    let frame = frame.saying(false, text);
    let page = page(app, visitor, frame, form, List::default()).await?;
    Ok((StatusCode::CONFLICT, page).into_response())
}

/// Shows the page again, with the form as it was sent.
async fn again(
    app: &App,
    visitor: &Visitor,
    frame: Frame,
    form: SettingsForm,
) -> Result<Response, PageError> {
    let page = page(app, visitor, frame, form, List::default()).await?;
    Ok((StatusCode::UNPROCESSABLE_ENTITY, page).into_response())
}

/// Returns whether these settings would disable the administrator's only second factor.
async fn shuts_out(app: &App, visitor: &Visitor, settings: &Settings) -> Result<bool, PageError> {
    let Visitor {
        user,
        subject,
        context,
        ..
    } = visitor;
    let redeem = Request::new(context.actor(), subject, Action::Redeem, context.now());
    if settings.decide(redeem) == Decision::Allow || user.app_works() {
        return Ok(false);
    }
    let status = app.codes.status(subject, context).await?;
    Ok(has_second_factor(user, &status))
}

fn wish(form: &SettingsForm) -> String {
    let roles = form.roles.iter().filter(|role| role.chosen);
    let roles: Vec<_> = roles.map(|role| role.name).collect();
    let switch = if form.on { "on" } else { "off" };
    let roles = if roles.is_empty() {
        "none".to_owned()
    } else {
        roles.join(", ")
    };
    format!(
        "switched {switch}; roles {roles}; low threshold {}",
        form.low_threshold
    )
}

/// The height of the chart's tallest bar.
const CHART: u64 = 100;

fn figures(app: &App, usage: Usage, periods: &Periods) -> Figures {
    let most = usage.used_by_day.iter().copied().max().unwrap_or(0);
    let days = app.zone.days(periods).into_iter().zip(&usage.used_by_day);
    let bars = days.enumerate().map(|(number, (day, count))| {
        // Rounds up, so that a day with one use among thousands still shows.
        let height = (count * CHART).div_ceil(most.max(1));
        Bar {
            day,
            count: *count,
            x: number * 16,
            y: CHART - height,
            height,
            named: number % 7 == 1,
        }
    });
    Figures {
        bars: bars.collect(),
        most,
        total: usage.used_by_day.iter().sum(),
        zone: app.zone.name(),
        usage,
    }
}

fn choices<T: Copy>(all: &[(&'static str, &'static str, T)], wanted: &str) -> (Vec<Choice>, T) {
    let chosen = all.iter().position(|(id, ..)| *id == wanted).unwrap_or(0);
    let choice = |(number, (id, name, _)): (usize, &(&'static str, &'static str, T))| Choice {
        id,
        name,
        chosen: number == chosen,
    };
    (all.iter().enumerate().map(choice).collect(), all[chosen].2)
}

async fn lines(app: &App, visitor: &Visitor, list: List) -> Result<Lines, PageError> {
    let (filters, filter) = choices(&FILTERS, &list.filter);
    let (sorts, order) = choices(&ORDERS, &list.sort);
    let mut query = UsersQuery::new(app.now()).with_filter(filter);
    let q = list.q.trim();
    let (mut others, mut too_many) = (Vec::new(), false);
    if !q.is_empty() {
        // The crate knows ids, not names. The application finds the users, the directory lists
        // those with codes, and the others are named beside the list.
        others = app.users.matching(q, FOUND + 1).await?;
        too_many = others.len() > usize::from(FOUND);
        others.truncate(FOUND.into());
        query = query.with_among(others.iter().map(|user| user.subject().id().clone()));
        let all = query.clone().with_limit(FOUND);
        let listed = app.reports.users(all, &visitor.context).await?;
        let listed: BTreeSet<&[u8]> = listed.iter().map(|row| row.user.as_bytes()).collect();
        others.retain(|user| list.after.is_empty() && !listed.contains(user.id.as_bytes()));
    }
    let more_others = others.len().saturating_sub(ROWS.into());
    others.truncate(ROWS.into());

    // One more than shown: whether it is there says whether there is a next page.
    query = query.with_order(order).with_limit(ROWS + 1);
    if !list.after.is_empty() {
        let row = serde_json::from_str::<UserRow>(&list.after);
        query = query.with_after(row.map_err(|_| {
            PageError::unprocessable(
                "This link is not valid. Start again from the first page of the list.",
            )
        })?);
    }
    let mut rows = app.reports.users(query, &visitor.context).await?;
    let more = rows.len() > usize::from(ROWS);
    rows.truncate(ROWS.into());
    let last = rows.last().filter(|_| more).map(serde_json::to_string);
    let last = last
        .transpose()
        .map_err(|error| PageError::broken(&error))?;
    let next_page = last.map(|last| list.link(&last, "")).transpose()?;
    let paged = Some(&list).filter(|list| !list.after.is_empty());
    let first_page = paged.map(|list| list.link("", "")).transpose()?;
    let ids: Vec<String> = rows.iter().map(|row| row.user.to_string()).collect();
    let users = app.users.find_all(&ids).await?;
    let line = |(row, id): (UserRow, String)| {
        let user = users.iter().find(|user| user.id == id);
        Line {
            known: user.is_some(),
            name: user.map(|user| user.name.clone()).unwrap_or_default(),
            roles: user.map(User::role_names).unwrap_or_default(),
            left: row.remaining,
            total: row.total,
            generated: row.prepared_at.map(|at| app.zone.moment(at)),
            used: row.last_used_at.map(|at| app.zone.moment(at)),
            id,
        }
    };
    Ok(Lines {
        q: q.to_owned(),
        filters,
        sorts,
        lines: rows.into_iter().zip(ids).map(line).collect(),
        refresh: list.link(&list.after, &app.now().unix_millis().to_string())?,
        first_page,
        next_page,
        others,
        more_others,
        too_many,
    })
}

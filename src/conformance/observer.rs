//! Cases in which readers read while a writer writes: what one write changes shows at once.

use std::collections::{BTreeMap, BTreeSet};
use std::iter;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::Harness;
use super::fixtures::{event, moment, revision, save, saved, user};
use super::watch::{Case, Store, together};
use crate::audit::event::Event;
use crate::code::format::Format;
use crate::hash::Cost;
use crate::hash::acceptance::{Acceptance, Scheme};
use crate::id::{EventId, Revision, UserId};
use crate::policy::settings::{PermittedRoles, Settings};
use crate::report::users::{UserFilter, UserOrder, UsersQuery};
use crate::report::{Periods, SetSummary, Summary, UsageQuery, UserRow, usage};
use crate::repository::record::{Use, quarter_of};
use crate::repository::{CodeRepository, Directory, Expected, Put, PutOutcome, SettingsStore};

/// The number of writes after which the writer pauses and the events are acknowledged, so that the
/// lists of events stay short and the readers quick.
const ROUND: usize = 16;

/// The result of one read. Writes are numbered from 1.
enum Shown {
    /// The state after this write; `None` where the result does not tell which.
    State(Option<usize>),
    /// The events of these writes.
    Events(BTreeSet<usize>),
}

/// A read with its name.
type Read<'a, R> = (&'a str, &'a (dyn Fn(&R) -> Shown + Sync));

/// Records the end of a thread, in a panic too.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Runs one thread that writes, and two threads that read at the same time, one over each handle.
///
/// As soon as any read has shown a write, or the write was confirmed, every read that begins later
/// has to show it: its state or a later one, and its events. So neither part of a write can be seen
/// before the other one. A correct store never fails here, however the threads run.
fn observe<H: Harness>(
    store: &Store<'_, H>,
    rounds: usize,
    write: &(dyn Fn(&H::Repository, usize) + Sync),
    reads: &[Read<'_, H::Repository>],
    rest: &dyn Fn(usize),
) {
    let (second, shown) = (store.second(), AtomicU64::new(0));
    let show = |number: usize| shown.fetch_max(number as u64, Ordering::SeqCst);
    for round in 0..rounds {
        let numbers = round * ROUND + 1..=(round + 1) * ROUND;
        let (ended, failed) = (AtomicBool::new(false), AtomicBool::new(false));
        together(3, |thread| {
            let handle = if (thread + round) % 2 == 0 {
                store
            } else {
                second
            };
            if thread == 0 {
                let _ending = Ending(&ended);
                for number in numbers.clone() {
                    if failed.load(Ordering::SeqCst) {
                        break;
                    }
                    write(handle, number);
                    show(number);
                }
                return;
            }
            let _ending = Ending(&failed);
            // The last read begins when everything is written.
            for last in iter::repeat_with(|| ended.load(Ordering::SeqCst)) {
                for (name, read) in reads {
                    let least = usize::try_from(shown.load(Ordering::SeqCst)).unwrap();
                    match read(handle) {
                        Shown::State(None) => {}
                        Shown::State(Some(number)) => {
                            assert!(
                                number >= least,
                                "clauses 2 and 5: `{name}` gives the state after write {number}, \
                                 when another part of write {least} was shown already"
                            );
                            show(number);
                        }
                        Shown::Events(listed) => {
                            let mut due = *numbers.start()..=least;
                            if let Some(missing) = due.find(|number| !listed.contains(number)) {
                                panic!(
                                    "clauses 2 and 6: write {missing} was shown already, and \
                                     `{name}` does not list its event"
                                );
                            }
                            if let Some(latest) = listed.last() {
                                show(*latest);
                            }
                        }
                    }
                }
                if last {
                    break;
                }
            }
        });
        rest(round);
    }
}

/// The writes of a case, each with a revision and an event of its own.
struct Writes {
    revisions: Vec<Revision>,
    events: Vec<Event>,
    numbers: BTreeMap<EventId, usize>,
}

impl Writes {
    fn new(rounds: usize, user: &UserId) -> Self {
        // The first ones stand for no write.
        let events: Vec<Event> = (0..=rounds * ROUND).map(|_| event(user)).collect();
        let numbers = events.iter().enumerate();
        Self {
            revisions: events.iter().map(|_| revision()).collect(),
            numbers: numbers.map(|(number, event)| (event.id, number)).collect(),
            events,
        }
    }

    fn at(&self, number: usize) -> Expected {
        if number == 0 {
            Expected::Absent
        } else {
            Expected::At(self.revisions[number])
        }
    }

    /// Returns the events that a handle lists.
    fn listed<H: Harness>(&self, case: &Case<H>, handle: &H::Repository) -> Shown {
        let listed = case.undelivered(handle);
        let number = |event: &Event| {
            let number = *self
                .numbers
                .get(&event.id)
                .expect("clause 6: a written event");
            assert_eq!(
                *event, self.events[number],
                "clause 6: the event of the write is listed unchanged"
            );
            number
        };
        Shown::Events(listed.iter().map(number).collect())
    }

    /// Acknowledges the events of a round, all of which have to be there.
    fn settle<H: Harness>(&self, case: &Case<H>, handle: &H::Repository, round: usize) {
        let Shown::Events(listed) = self.listed(case, handle) else {
            return;
        };
        let due: BTreeSet<usize> = (round * ROUND + 1..=(round + 1) * ROUND).collect();
        assert_eq!(listed, due, "clause 6: the events of these writes");
        let ids: Vec<EventId> = due.iter().map(|number| self.events[*number].id).collect();
        case.acknowledge(handle, &ids);
    }
}

/// While one handle writes, the other never shows a record without its events, nor events without
/// their record, nor a confirmed write too late. Some records are removed in between; their events
/// stay.
pub fn a_write_shows_with_its_events<H: Harness>(case: &Case<H>) {
    const ROUNDS: usize = 25;
    let store = case.fresh();
    let a = user("a");
    let writes = Writes::new(ROUNDS, &a);
    let removed = |number: usize| number % 5 == 4;
    let write = |handle: &H::Repository, number: usize| {
        let before = if removed(number - 1) {
            Expected::Absent
        } else {
            writes.at(number - 1)
        };
        let (revision, events) = (writes.revisions[number], &writes.events[number..=number]);
        case.insist(handle, &a, before, revision, &number.to_string(), events);
        if removed(number) {
            case.insist_on_removal(handle, &a, revision);
        }
    };
    let load = |handle: &H::Repository| {
        Shown::State(case.load(handle, &a).map(|loaded| {
            let number: usize = loaded
                .record
                .parse()
                .expect("clause 5: a record as written");
            assert_eq!(
                Some(&loaded.revision),
                writes.revisions.get(number),
                "clause 5: record and revision belong together"
            );
            number
        }))
    };
    let list = |handle: &H::Repository| writes.listed(case, handle);
    let reads: [Read<'_, H::Repository>; 2] = [("load", &load), ("undelivered", &list)];
    observe(&store, ROUNDS, &write, &reads, &|round| {
        writes.settle(case, &store, round);
    });
}

/// While one handle saves settings, the other never shows settings without their events, nor
/// events without their settings, nor a confirmed save too late.
pub fn a_save_shows_with_its_events<H: Harness>(case: &Case<H>)
where
    H::Repository: SettingsStore,
{
    const ROUNDS: usize = 15;
    let store = case.fresh();
    let writes = Writes::new(ROUNDS, &user("a"));
    let write = |handle: &H::Repository, number: usize| {
        let mut settings = Settings::default();
        settings.permit_roles([number.to_string()]);
        let (before, revision) = (writes.at(number - 1), writes.revisions[number]);
        let events = &writes.events[number..=number];
        for _ in 0..100 {
            if save(case, handle, before, revision, &settings, events) == PutOutcome::Applied {
                return;
            }
        }
        panic!("settings: every save in the state expected is a conflict");
    };
    let load = |handle: &H::Repository| {
        Shown::State(saved(case, handle).map(|(settings, revision)| {
            let PermittedRoles::Chosen(roles) = settings.permitted() else {
                panic!("settings: other ones than were saved");
            };
            let role = roles.first().expect("settings: as they were saved");
            let number: usize = role.as_str().parse().expect("settings: as saved");
            assert_eq!(
                Some(&revision),
                writes.revisions.get(number),
                "settings: settings and revision belong together"
            );
            number
        }))
    };
    let list = |handle: &H::Repository| writes.listed(case, handle);
    let reads: [Read<'_, H::Repository>; 2] = [("load_settings", &load), ("undelivered", &list)];
    observe(&store, ROUNDS, &write, &reads, &|round| {
        writes.settle(case, &store, round);
    });
}

/// Returns the summary of the state after a write: each field, and each figure, depends on it.
fn numbered(number: usize) -> Summary {
    let minutes = i64::try_from(number).unwrap();
    Summary {
        set: Some(SetSummary::new(
            Scheme::new(Format::CROCKFORD, Cost::MIB_19, None),
            11,
            u8::try_from(number % 11).unwrap(),
            moment(minutes),
            moment(minutes + 1),
        )),
        last_used_at: Some(moment(minutes + 2)),
        uses: vec![Use {
            quarter: quarter_of(moment(0)),
            count: u16::try_from(number).unwrap(),
        }],
        erased_at: None,
    }
}

/// While one handle writes, the other shows a user's row, the figures and the record as one write
/// has left them all.
pub fn a_row_shows_with_its_record<H: Harness>(case: &Case<H>)
where
    H::Repository: Directory,
{
    const ROUNDS: usize = 15;
    let store = case.fresh();
    let a = user("a");
    let writes = Writes::new(ROUNDS, &a);
    let write = |handle: &H::Repository, number: usize| {
        let (summary, record) = (numbered(number), number.to_string());
        let (before, revision) = (writes.at(number - 1), writes.revisions[number]);
        for _ in 0..100 {
            let put = Put::new(&a, before, revision, &record, &summary, &[]);
            match case.call("put", handle.put(put)) {
                Ok(PutOutcome::Applied) => return,
                Ok(PutOutcome::Conflict) => {}
                Err(error) => panic!("a put failed: {error:?}"),
            }
        }
        panic!("clause 2: every put in the state expected is a conflict");
    };
    let load = |handle: &H::Repository| {
        let loaded = case.load(handle, &a);
        Shown::State(loaded.map(|loaded| loaded.record.parse().expect("a record as written")))
    };
    let now = moment(100_000);
    let row = |handle: &H::Repository, order: UserOrder| {
        let query = UsersQuery::new(now)
            .with_filter(UserFilter::Every)
            .with_order(order);
        let rows = match case.call("users", Directory::users(handle, &query)) {
            Ok(rows) => rows,
            Err(error) => panic!("a page failed: {error:?}"),
        };
        Shown::State(rows.first().map(|row| {
            let used = row
                .last_used_at
                .expect("directory: it was used")
                .unix_millis();
            let number = (used - moment(2).unix_millis()) / 60_000;
            let number = usize::try_from(number).expect("directory: a use as written");
            let whole = UserRow::new(a.clone(), &numbered(number), &Acceptance::default(), now);
            assert_eq!(rows, [whole], "directory: a row is of one state");
            number
        }))
    };
    let periods = Periods::new(moment(0)..moment(15), moment(0)..moment(30), &[]).unwrap();
    let query = UsageQuery::new(periods, 3, now, Acceptance::default());
    let figures = |handle: &H::Repository| {
        let figures = match case.call("usage", Directory::usage(handle, &query)) {
            Ok(figures) => figures,
            Err(error) => panic!("usage failed: {error:?}"),
        };
        let number = usize::try_from(figures.used_today).unwrap();
        if number > 0 {
            let whole = usage([numbered(number)], &query);
            assert_eq!(figures, whole, "directory: figures are of one state");
        }
        Shown::State(Some(number))
    };
    let by_user = |handle: &H::Repository| row(handle, UserOrder::User);
    let by_use = |handle: &H::Repository| row(handle, UserOrder::LatestUse);
    let reads: [Read<'_, H::Repository>; 6] = [
        ("load", &load),
        ("users by key", &by_user),
        ("load", &load),
        ("users by latest use", &by_use),
        ("load", &load),
        ("usage", &figures),
    ];
    observe(&store, ROUNDS, &write, &reads, &|_| {});
}

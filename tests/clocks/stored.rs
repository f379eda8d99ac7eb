//! A record whose every stored moment can be moved.

use crate::site::{HOUR, LAST_QUARTER, MINUTE, NOW, YEAR, YEAR_9999};

/// What is stored of Alice, as plain numbers.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) active: Option<Active>,
    /// When it was prepared, and when it expires.
    pub(crate) prepared: Option<(i64, i64)>,
    pub(crate) overriding: Option<Overriding>,
    pub(crate) wrong_in_a_row: u8,
    pub(crate) locked_until: Option<i64>,
    pub(crate) disabled_at: Option<i64>,
    pub(crate) uses: Vec<i64>,
    pub(crate) last_used_at: i64,
    pub(crate) revoked_at: i64,
}

#[derive(Debug, Clone)]
pub(crate) struct Active {
    pub(crate) prepared_at: i64,
    pub(crate) activated_at: i64,
    pub(crate) expires_at: i64,
    pub(crate) proved_at: i64,
    /// Of code 1.
    pub(crate) used_at: i64,
    /// Of code 2. Code 3 is good.
    pub(crate) burned_at: i64,
}

#[derive(Debug, Clone)]
pub(crate) struct Overriding {
    pub(crate) issued_at: i64,
    pub(crate) expires_at: i64,
    pub(crate) used_at: Option<i64>,
}

impl Stored {
    pub(crate) fn usual() -> Self {
        Self {
            active: Some(Active {
                prepared_at: NOW - 40 * MINUTE,
                activated_at: NOW - 39 * MINUTE,
                expires_at: NOW + 2 * YEAR,
                proved_at: NOW - 37 * MINUTE,
                used_at: NOW - 38 * MINUTE,
                burned_at: NOW - 36 * MINUTE,
            }),
            prepared: Some((NOW - 10 * MINUTE, NOW + 2 * YEAR)),
            overriding: Some(Overriding {
                issued_at: NOW - 9 * MINUTE,
                expires_at: NOW + 3 * HOUR,
                used_at: None,
            }),
            wrong_in_a_row: 3,
            locked_until: None,
            disabled_at: None,
            uses: vec![NOW - 38 * MINUTE],
            last_used_at: NOW - 38 * MINUTE,
            revoked_at: NOW - 41 * MINUTE,
        }
    }

    pub(crate) fn locked() -> Self {
        Self {
            wrong_in_a_row: 10,
            locked_until: Some(NOW + 20 * MINUTE),
            ..Self::usual()
        }
    }

    pub(crate) fn disabled() -> Self {
        Self {
            wrong_in_a_row: 100,
            disabled_at: Some(NOW - 8 * MINUTE),
            ..Self::usual()
        }
    }

    pub(crate) fn overridden() -> Self {
        let mut stored = Self::usual();
        stored.overriding.as_mut().unwrap().used_at = Some(NOW - 7 * MINUTE);
        stored
    }
}

/// Which clock wrote it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Clock {
    Off(i64),
    Showed(i64),
}

pub(crate) const CLOCKS: [Clock; 9] = [
    Clock::Off(0),
    Clock::Off(MINUTE),
    Clock::Off(HOUR),
    Clock::Off(YEAR),
    Clock::Showed(YEAR_9999),
    Clock::Off(-MINUTE),
    Clock::Off(-HOUR),
    Clock::Off(-YEAR),
    Clock::Showed(0),
];

impl Clock {
    pub(crate) fn on(self, moment: &mut i64) {
        *moment = match self {
            Self::Off(by) => *moment + by,
            Self::Showed(moment) => moment,
        };
    }
}

/// One stored moment, or all that one operation or one clock writes.
pub(crate) struct Moment {
    pub(crate) name: &'static str,
    pub(crate) stored: fn() -> Stored,
    /// The moment itself.
    pub(crate) shown: fn(&Stored) -> i64,
    pub(crate) write: fn(&mut Stored, Clock),
}

macro_rules! moment {
    ($name:literal, $stored:ident, $stored_name:ident => $($place:expr),+) => {
        Moment {
            name: $name,
            stored: Stored::$stored,
            shown: |stored| {
                let mut copy = stored.clone();
                let $stored_name = &mut copy;
                let places = [$(&mut $place),+];
                *places[0]
            },
            write: |stored, clock| {
                let $stored_name = stored;
                $(clock.on(&mut $place);)+
            },
        }
    };
}

pub(crate) fn moments() -> Vec<Moment> {
    macro_rules! active {
        ($s:ident) => {
            $s.active.as_mut().unwrap()
        };
    }
    macro_rules! code {
        ($s:ident) => {
            $s.overriding.as_mut().unwrap()
        };
    }
    vec![
        moment!("active, prepared", usual, s => active!(s).prepared_at),
        moment!("active, activated", usual, s => active!(s).activated_at),
        moment!("active, expires", usual, s => active!(s).expires_at),
        moment!("active, proved", usual, s => active!(s).proved_at),
        moment!("code used", usual, s => active!(s).used_at),
        moment!("code burned", usual, s => active!(s).burned_at),
        moment!("prepared set, prepared", usual, s => s.prepared.as_mut().unwrap().0),
        moment!("prepared set, expires", usual, s => s.prepared.as_mut().unwrap().1),
        moment!("override, issued", usual, s => code!(s).issued_at),
        moment!("override, expires", usual, s => code!(s).expires_at),
        moment!("override, used", overridden, s => *code!(s).used_at.as_mut().unwrap()),
        moment!("locked until", locked, s => *s.locked_until.as_mut().unwrap()),
        moment!("disabled", disabled, s => *s.disabled_at.as_mut().unwrap()),
        moment!("use", usual, s => s.uses[0]),
        moment!("last used", usual, s => s.last_used_at),
        moment!("revoked", usual, s => s.revoked_at),
    ]
}

/// What one operation writes at once.
pub(crate) fn operations() -> Vec<Moment> {
    fn shift(moment: &mut i64, clock: Clock, now: i64) {
        let mut clock_now = now;
        clock.on(&mut clock_now);
        *moment = (*moment - now + clock_now).clamp(0, LAST_QUARTER);
    }
    vec![
        Moment {
            name: "activating",
            stored: Stored::usual,
            shown: |stored| stored.active.as_ref().unwrap().prepared_at,
            write: |stored, clock| {
                let active = stored.active.as_mut().unwrap();
                let now = active.prepared_at;
                for moment in [
                    &mut active.prepared_at,
                    &mut active.activated_at,
                    &mut active.expires_at,
                ] {
                    shift(moment, clock, now);
                }
            },
        },
        Moment {
            name: "preparing",
            stored: Stored::usual,
            shown: |stored| stored.prepared.unwrap().0,
            write: |stored, clock| {
                let (prepared, expires) = stored.prepared.as_mut().unwrap();
                let now = *prepared;
                shift(prepared, clock, now);
                shift(expires, clock, now);
            },
        },
        Moment {
            name: "issuing an override",
            stored: Stored::usual,
            shown: |stored| stored.overriding.as_ref().unwrap().issued_at,
            write: |stored, clock| {
                let code = stored.overriding.as_mut().unwrap();
                let now = code.issued_at;
                shift(&mut code.issued_at, clock, now);
                shift(&mut code.expires_at, clock, now);
            },
        },
        Moment {
            name: "redeeming",
            stored: Stored::usual,
            shown: |stored| stored.last_used_at,
            write: |stored, clock| {
                let active = stored.active.as_mut().unwrap();
                for moment in [
                    &mut active.used_at,
                    &mut active.proved_at,
                    &mut stored.uses[0],
                    &mut stored.last_used_at,
                ] {
                    clock.on(moment);
                }
            },
        },
    ]
}

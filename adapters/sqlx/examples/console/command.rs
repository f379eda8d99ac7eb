//! The commands and their parser.

use backup_codes::Formats;
use backup_codes::code::NotACode;
use backup_codes::rules::{Attempt, OperationId};
use zeroize::Zeroizing;

use crate::failure::Failure;

/// A command: its own words, its arguments, and its help. Words in capitals are placeholders; other
/// words are typed as they are.
#[derive(Clone, Copy)]
pub(crate) struct Command {
    pub(crate) words: &'static str,
    pub(crate) arguments: &'static str,
    pub(crate) help: &'static str,
}

const COMMANDS: &str = "\
login : NAME : act as this account; takes the place of a password check
logout :: act as the operator of this console again
user add : NAME [ROLE ...] : make an account
user roles : NAME [ROLE ...] : give an account these roles and no others
user remove : NAME : remove an account and its codes; no codes for this name until purge, a month later
user list :: all accounts and their roles
role add : NAME : make a role
role list :: all roles
settings :: the current settings
settings switch : on | off : turn backup codes on or off for all users
settings permit : all | none | ROLE ... : roles that may have codes
settings administer : ROLE ... : roles that administer codes of others
settings low : NUMBER : a user with this number of codes left, or fewer, is low
settings loss : keep | stop : whether codes still work without a permitted role
prepare :: make a sheet of codes, which is shown once
sheet export : FILE : write the sheet just prepared to a new file
activate : [CODE] : make the prepared sheet active; CODE proves that you have it
discard :: discard the prepared sheet
redeem : CODE : log in with a code, which uses it up
check : CODE : check a code without using it
burn : CODE : invalidate a code that another person may have seen
status : [NAME] : the codes of an account; your own without NAME
override : NAME [MINUTES] : issue a code for a user who is locked out, valid for an hour or MINUTES
revoke-override : NAME : invalidate an override code
unlock : NAME : reset the count of wrong codes of an account
revoke : [NAME] : invalidate all codes of an account; your own without NAME
users : [with | holding | low | exhausted | every] : users with codes, and the number left
usage : [DAYS] : figures of today, this month, and the last days (7)
audit : [user NAME] [kind KIND] [from TIME] [until TIME] [limit NUMBER] : the newest events (50)
schemes :: formats, costs and keys of active sheets, and which are refused here
purge : [force] : remove old records and uses; an application does this once a day
help : [COMMAND] : all commands, or one
quit :: end the console";

pub(crate) fn all() -> impl Iterator<Item = Command> {
    COMMANDS.lines().map(|line| {
        let mut parts = line.split(':').map(str::trim);
        let mut part = || parts.next().unwrap_or_default();
        Command {
            words: part(),
            arguments: part(),
            help: part(),
        }
    })
}

impl Command {
    fn own_words(self) -> Vec<&'static str> {
        self.words.split(' ').collect()
    }

    /// Returns the failure that shows how to type this command.
    pub(crate) fn misused(self) -> Failure {
        Failure::new(format!("type: {} {}", self.words, self.arguments).trim_end())
    }
}

/// Returns the command of a line and its arguments.
pub(crate) fn find<'a>(typed: &'a [&'a str]) -> Result<(Command, &'a [&'a str]), Failure> {
    let meant = all().filter(|command| typed.starts_with(&command.own_words()));
    if let Some(command) = meant.max_by_key(|command| command.own_words().len()) {
        return Ok((command, &typed[command.own_words().len()..]));
    }
    let first = typed.first().copied();
    let group = all().filter(|command| command.words.split(' ').next() == first);
    let group: Vec<&str> = group.map(|command| command.words).collect();
    Err(Failure::new(if group.is_empty() {
        "there is no such command: type help to see all".to_owned()
    } else {
        format!("type one of: {}", group.join(", "))
    }))
}

/// Joins words with spaces: a typed code may have some.
pub(crate) fn joined(words: &[&str]) -> Zeroizing<String> {
    Zeroizing::new(words.join(" "))
}

/// Returns whether a line may go into the history file: a known command without a code, or a text
/// similar to one.
pub(crate) fn may_be_kept(line: &str) -> bool {
    let words: Vec<&str> = line.split_whitespace().collect();
    let Ok((command, arguments)) = find(&words) else {
        return false;
    };
    let id = OperationId::from_bytes([0; 16]);
    let no_code = |typed: &str| match Attempt::parse(typed, &Formats::default(), id) {
        Ok(_) | Err(NotACode::Typo) => false,
        // Some words of commands are read as these errors, too.
        Err(NotACode::OtherScript | NotACode::OtherFormat) => !like_a_code(typed),
        Err(NotACode::Shape) => true,
    };
    // A code that lacks a symbol, or has one too many, reveals as much as a whole one. A time,
    // which is as long, has colons.
    let no_part = |word: &str| word.contains(':') || !like_a_code(word);
    let every_run = || (0..words.len()).flat_map(|i| (i..words.len()).map(move |j| (i, j)));
    (arguments.is_empty() || !command.arguments.contains("CODE"))
        && words.iter().all(|word| no_part(word))
        && every_run().all(|(i, j)| no_code(&joined(&words[i..=j])))
}

/// Returns whether a text has about as many letters and digits, of any script, as a code.
fn like_a_code(text: &str) -> bool {
    let symbols = text.chars().filter(|c| c.is_alphanumeric()).count();
    (12..=24).contains(&symbols) && text.contains(char::is_numeric)
}

/// Returns the words that may follow these whole words: words of commands, accounts, roles.
pub(crate) fn next_words(typed: &[&str], accounts: &[String], roles: &[String]) -> Vec<String> {
    let more = all().filter(|command| command.own_words().starts_with(typed));
    let mut next: Vec<String> = more
        .filter_map(|command| Some((*command.own_words().get(typed.len())?).to_owned()))
        .collect();
    if let Ok((Command { arguments, .. }, _)) = find(typed) {
        let lower = arguments.split(|c: char| !c.is_ascii_lowercase());
        next.extend(lower.filter(|word| !word.is_empty()).map(str::to_owned));
        for (word, names) in [("NAME", accounts), ("ROLE", roles)] {
            if arguments.contains(word) {
                next.extend_from_slice(names);
            }
        }
    }
    next.sort();
    next.dedup();
    next
}

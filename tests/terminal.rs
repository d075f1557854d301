//! What a person sees: the program on a terminal of its own, whose screen is looked at after everything that is written to it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

use hitkeep_plan::demo::Layout;
use rustix::fs::{Mode, OFlags};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::fixture::{Site, code, demo, minimal, names};
use crate::redact::{self, golden};

const ROWS: u16 = 60;

/// Tells whether a bar turns this, which is in Braille.
fn is_spinner(drawn: char) -> bool {
    ('\u{2800}'..='\u{28ff}').contains(&drawn)
}

/// The program while a terminal is its own.
struct Terminal {
    child: Child,
    keyboard: File,
    screen: vt100::Parser,
    written: Vec<u8>,
    /// The rows that bars were drawn in, as they were at any time, each with the row below it.
    bars: BTreeSet<(String, String)>,
}

/// What a terminal showed.
struct Shown {
    code: i32,
    /// What stands on it at the end.
    screen: String,
    /// All that was written to it.
    written: String,
    bars: BTreeSet<(String, String)>,
}

impl Terminal {
    /// Starts the program with `words` on a terminal of so many columns, in an environment that has this, too.
    fn start(site: &Site, words: &[&str], columns: u16, environment: &[(&str, &str)]) -> Self {
        let keyboard = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&keyboard).unwrap();
        unlockpt(&keyboard).unwrap();
        tcsetwinsize(&keyboard, Winsize { ws_row: ROWS, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
        let name = ptsname(&keyboard, Vec::new()).unwrap();
        // Other tests start servers meanwhile, which must not keep it open.
        let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
        let end = || File::from(rustix::fs::open(&name, flags, Mode::empty()).unwrap());
        let program = site.command(words);
        // It makes its standard input the terminal that gives it signals.
        let mut command = Command::new("/usr/bin/setsid");
        command.args(["--ctty", "--wait"]).arg(program.get_program()).args(program.get_args());
        command.current_dir(site.path("")).env_clear().env("TERM", "xterm-256color");
        command.envs(program.get_envs().filter_map(|(name, value)| Some((name, value?))));
        command.envs(environment.iter().copied());
        command.stdin(Stdio::from(end())).stdout(Stdio::from(end())).stderr(Stdio::from(end()));
        let screen = vt100::Parser::new(ROWS, columns, 0);
        let (written, bars) = (Vec::new(), BTreeSet::new());
        Self { child: command.spawn().unwrap(), keyboard: File::from(keyboard), screen, written, bars }
    }

    /// Takes in what is written next, and looks at the screen before anything on it is taken away again; false when nobody
    /// will write any more.
    fn look(&mut self) -> bool {
        let mut bytes = [0; 4096];
        // Linux says that there is an error once nobody has the other end any more.
        let count = self.keyboard.read(&mut bytes).unwrap_or(0);
        self.written.extend_from_slice(&bytes[..count]);
        let mut rest = &bytes[..count];
        while !rest.is_empty() {
            // A carriage return or a control sequence is how a bar is drawn over.
            let next = rest[1..].iter().position(|byte| b"\r\x1b".contains(byte)).map_or(rest.len(), |at| at + 1);
            self.screen.process(&rest[..next]);
            self.see_bars();
            rest = &rest[next..];
        }
        count > 0
    }

    fn see_bars(&mut self) {
        let rows = self.rows();
        let bars = rows.iter().zip(&rows[1..]).filter(|(row, _)| row.starts_with(is_spinner));
        self.bars.extend(bars.map(|(bar, below)| (bar.clone(), below.clone())));
    }

    /// Returns what stands on the screen now.
    fn rows(&self) -> Vec<String> {
        let screen = self.screen.screen();
        screen.rows(0, screen.size().1).map(|row| row.trim_end().to_owned()).collect()
    }

    /// Waits until there is a bar that says this.
    fn wait_for_bar(&mut self, text: &str) {
        let is_there = |row: &String| row.starts_with(is_spinner) && row.contains(text);
        while !self.rows().iter().any(is_there) {
            assert!(self.look(), "`{text}` is not drawn: {}", self.rows().join("\n"));
        }
    }

    /// Presses keys.
    fn press(&mut self, keys: &[u8]) {
        self.keyboard.write_all(keys).unwrap();
    }

    /// Waits for the end.
    fn end(mut self) -> Shown {
        while self.look() {}
        let screen = self.rows().join("\n").trim_end().to_owned() + "\n";
        let written = String::from_utf8(std::mem::take(&mut self.written)).unwrap();
        Shown { code: code(self.child.wait().unwrap()), screen, written, bars: std::mem::take(&mut self.bars) }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // One that has ended is past killing.
        drop(self.child.kill());
    }
}

/// Takes out how long something took, which is said only where that is long, and puts what was done into an order of its own:
/// two tasks may be under way at the same time.
fn timeless(screen: &str) -> String {
    let lines = screen.lines().map(|line| line.strip_suffix(" in [AGE]").unwrap_or(line).to_owned() + "\n");
    let (mut done, rest): (Vec<String>, Vec<String>) = lines.partition(|line| line.starts_with('✓'));
    done.sort();
    [done, rest].concat().concat()
}

#[test]
fn a_terminal_shows_what_is_done_and_in_the_end_what_was() {
    let site = Site::with(minimal());
    let story = [&["run", "plan.toml"][..], &["verify", "plan.toml"], &["list", "plan.toml"]];
    let mut shown = String::new();
    for words in story {
        let Shown { code, screen, .. } = Terminal::start(&site, words, 200, &[]).end();
        assert_eq!(code, 0, "{screen}");
        let screen = timeless(&redact::narrow(&redact::text(&site, &screen)));
        writeln!(shown, "$ hitkeep-plan {}\n{}", words.join(" "), screen.trim_end()).unwrap();
    }
    golden("terminal.txt", &shown);
}

#[test]
fn a_bar_is_drawn_for_every_task_and_none_is_left_or_wider_than_its_terminal() {
    for columns in [44, 80, 120] {
        let site = Site::with(demo(Layout::Split));
        let Shown { code, screen, bars, .. } = Terminal::start(&site, &["run", "plan.toml"], columns, &[]).end();
        assert_eq!(code, 0, "{screen}");
        assert!(!screen.contains(is_spinner), "{columns} columns: {screen}");
        for (bar, below) in &bars {
            assert!(below.is_empty() || below.starts_with(is_spinner), "{columns} columns: {bar}\n{below}");
        }
        let is_said = |what: &str| bars.iter().any(|(bar, _)| bar.contains(what));
        assert!(is_said("export shared"), "{columns} columns: {bars:?}");
        assert_eq!(is_said("/s"), columns >= 80, "{columns} columns: {bars:?}");
    }
}

#[test]
fn control_and_c_end_a_run_which_says_so() {
    let site = Site::with(demo(Layout::Joined));
    let mut terminal = Terminal::start(&site, &["run", "plan.toml"], 100, &[]);
    terminal.wait_for_bar("export shared");
    terminal.press(b"\x03");
    let Shown { code, screen, .. } = terminal.end();
    assert_eq!(code, 130, "{screen}");
    assert!(screen.contains("interrupted"), "{screen}");
    assert_eq!(names(&site.path("staging")), Vec::<String>::new());
    assert_eq!(site.sets(), []);
}

#[test]
fn colours_are_for_terminals_whose_person_wants_them() {
    let site = Site::with(minimal());
    site.write_plan("version = 2\n");
    let is_coloured = |environment: &[(&str, &str)]| {
        let shown = Terminal::start(&site, &["check", "plan.toml"], 80, environment).end();
        assert_eq!(shown.code, 2, "{}", shown.screen);
        // Select Graphic Rendition, with a number: a colour or a weight.
        shown.written.split("\x1b[").skip(1).any(|rest| {
            let numbers = rest.find(|part: char| !part.is_ascii_digit() && part != ';').unwrap_or(rest.len());
            numbers > 0 && rest[numbers..].starts_with('m')
        })
    };
    assert!(is_coloured(&[]));
    assert!(!is_coloured(&[("NO_COLOR", "1")]));
    assert!(!is_coloured(&[("TERM", "dumb")]));
    assert!(!site.run(&["check", "plan.toml"]).stderr.contains('\x1b'));
}

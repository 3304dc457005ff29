//! Where the picture goes: a terminal that is drawn over, or plain lines.

use std::{
    env,
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use super::ink::{Ink, Size};

/// What a screen shows, at one moment.
pub(super) trait Picture {
    /// Real time since the start.
    fn elapsed(&self) -> Duration;
    /// All of it, for a terminal.
    fn render(&self, size: Size, ink: Ink) -> String;
    /// A line for a log.
    fn line(&self) -> String;
    /// What has happened so far, oldest first, a line each.
    fn news(&self) -> Vec<String>;
    /// What was seen, at the end.
    fn summary(&self) -> String;
}

/// Standard output, as it is.
pub(super) enum Screen {
    /// Drawn over several times a second.
    Terminal { ink: Ink },
    /// A line now and then, and one for each event.
    Lines {
        period: Duration,
        /// When the next line is due.
        next: Duration,
        /// Events that have been told.
        told: usize,
    },
}

impl Screen {
    /// Takes over the terminal if there is one and `plain` is not asked for.
    pub(super) fn open(plain: bool, duration: Duration) -> io::Result<Self> {
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        if plain || dumb || !io::stdout().is_terminal() {
            let period = (duration / 12).clamp(Duration::from_secs(1), Duration::from_secs(10));
            return Ok(Self::Lines { period, next: period, told: 0 });
        }
        let no_color = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let ink = if no_color { Ink::Plain } else { Ink::Color };
        // The second screen, so that the first comes back as it was; no cursor.
        print("\x1b[?1049h\x1b[?25l")?;
        Ok(Self::Terminal { ink })
    }

    /// It is drawn over, for somebody who looks on.
    pub(super) fn is_live(&self) -> bool {
        matches!(self, Self::Terminal { .. })
    }

    /// Shows how things stand.
    pub(super) fn show(&mut self, picture: &impl Picture) -> io::Result<()> {
        match self {
            Self::Terminal { ink } => {
                let picture = picture.render(size(), *ink);
                // Each line clears what was behind it: no flicker. None after
                // the last, which would move everything up on a full screen.
                let picture = picture.trim_end().replace('\n', "\x1b[K\r\n");
                print(&format!("\x1b[H{picture}\x1b[K\x1b[J"))
            }
            Self::Lines { period, next, told } => {
                let mut lines = news_after(picture, told);
                if picture.elapsed() >= *next {
                    *next = picture.elapsed() + *period;
                    lines += &format!("{}\n", picture.line());
                }
                print(&lines)
            }
        }
    }

    /// Gives the terminal back and says what was seen.
    pub(super) fn close(mut self, picture: &impl Picture) -> io::Result<()> {
        let last = match &mut self {
            // There is room for all of it: the terminal scrolls.
            Self::Terminal { ink } => {
                let size = Size { rows: usize::MAX, ..size() };
                picture.render(size, *ink)
            }
            Self::Lines { told, .. } => news_after(picture, told),
        };
        drop(self);
        print(&format!("{last}\n{}", picture.summary()))
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if matches!(self, Self::Terminal { .. }) {
            // Nothing can be done about a terminal that is gone.
            let _ = print("\x1b[?25h\x1b[?1049l");
        }
    }
}

fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// The events that have not been told, a line each.
fn news_after(picture: &impl Picture, told: &mut usize) -> String {
    let news = picture.news();
    let lines = news.iter().skip(*told).map(|line| format!("{line}\n")).collect();
    *told = news.len();
    lines
}

fn size() -> Size {
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
            Size { columns: size.ws_col.into(), rows: size.ws_row.into() }
        }
        _ => Size { columns: 80, rows: 24 },
    }
}

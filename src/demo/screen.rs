//! Where the picture goes: a terminal that is drawn over, or plain lines.

use std::{
    env,
    io::{self, IsTerminal as _, Write as _},
    time::Duration,
};

use super::picture::{Ink, Snapshot, line, render, summary};

/// Standard output, as it is.
pub(super) enum Screen {
    /// Drawn over several times a second.
    Terminal { ink: Ink },
    /// A line now and then.
    Lines,
}

impl Screen {
    /// Takes over the terminal if there is one and `plain` is not asked for.
    pub(super) fn open(plain: bool) -> io::Result<Self> {
        let dumb = env::var_os("TERM").is_some_and(|term| term == "dumb");
        if plain || dumb || !io::stdout().is_terminal() {
            return Ok(Self::Lines);
        }
        let no_color = env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let ink = if no_color { Ink::Plain } else { Ink::Color };
        // The second screen, so that the first comes back as it was; no cursor.
        print("\x1b[?1049h\x1b[?25l")?;
        Ok(Self::Terminal { ink })
    }

    /// How often there is something new to show in a demo of this length.
    pub(super) fn period(&self, duration: Duration) -> Duration {
        match self {
            Self::Terminal { .. } => Duration::from_millis(200),
            Self::Lines => (duration / 12).clamp(Duration::from_secs(1), Duration::from_secs(10)),
        }
    }

    /// Shows how things stand.
    pub(super) fn show(&self, snapshot: &Snapshot) -> io::Result<()> {
        match self {
            Self::Terminal { ink } => {
                // Each line clears what was behind it: no flicker.
                let picture = render(snapshot, columns(), *ink).replace('\n', "\x1b[K\r\n");
                print(&format!("\x1b[H{picture}\x1b[J"))
            }
            Self::Lines => print(&format!("{}\n", line(snapshot))),
        }
    }

    /// Gives the terminal back and says what was seen.
    pub(super) fn close(self, snapshot: &Snapshot) -> io::Result<()> {
        let picture = match &self {
            Self::Terminal { ink } => render(snapshot, columns(), *ink),
            Self::Lines => String::new(),
        };
        drop(self);
        print(&format!("{picture}\n{}", summary(snapshot)))
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

fn columns() -> usize {
    match rustix::termios::tcgetwinsize(io::stdout()) {
        Ok(size) if size.ws_col > 0 => size.ws_col.into(),
        _ => 80,
    }
}

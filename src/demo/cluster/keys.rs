//! Keys as they are pressed, without Enter and without echo.

use std::io::{self, IsTerminal as _, stdin};

use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcsetattr,
};

/// The keyboard. The terminal is as it was when this is dropped.
pub(super) struct Keys {
    /// How the terminal was; `None` where there is no keyboard.
    before: Option<Termios>,
}

impl Keys {
    /// Takes over the keyboard if there is one and it is wanted. Ctrl-C stays
    /// what it is.
    pub(super) fn open(wanted: bool) -> io::Result<Self> {
        if !wanted || !stdin().is_terminal() {
            return Ok(Self { before: None });
        }
        let before = tcgetattr(stdin())?;
        let mut now = before.clone();
        now.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        // A read never waits.
        now.special_codes[SpecialCodeIndex::VMIN] = 0;
        now.special_codes[SpecialCodeIndex::VTIME] = 0;
        tcsetattr(stdin(), OptionalActions::Flush, &now)?;
        Ok(Self { before: Some(before) })
    }

    /// There is a keyboard.
    pub(super) fn are_read(&self) -> bool {
        self.before.is_some()
    }

    /// What was pressed since the last time.
    pub(super) fn pressed(&self) -> Vec<char> {
        let mut bytes = [0; 16];
        let count = match &self.before {
            // A terminal that is gone has no keys.
            Some(_) => rustix::io::read(stdin(), &mut bytes).unwrap_or(0),
            None => 0,
        };
        bytes[..count].iter().map(|byte| char::from(*byte)).collect()
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // Nothing can be done about a terminal that is gone.
            let _ = tcsetattr(stdin(), OptionalActions::Flush, before);
        }
    }
}

//! What is logged of what Redis has yet to be told. Not here: what that is (`owed`).

use std::mem;

use log::Level;

type Line = (Level, &'static str);

/// What [`super::owed::Owed::sizes`] returns.
type Sizes = (usize, usize, bool);

/// That nothing is left to be told, and that something is.
const LEFT: [Line; 2] = [
    (Level::Info, "all was told, or has expired"),
    (
        Level::Warn,
        "not told of writes; their tenants are read from the database",
    ),
];

/// That what is left is remembered, and that it is not.
const OVERRUN: [Line; 2] = [
    (
        Level::Info,
        "used again, since all that it was not told of has expired",
    ),
    (
        Level::Warn,
        "not told of more writes than are remembered; used for nobody",
    ),
];

/// What was logged last, so that each change is logged once.
#[derive(Debug, Default)]
pub(super) struct Said {
    left: bool,
    overrun: bool,
}

impl Said {
    /// What is to be logged now that the sizes are these.
    pub(super) fn news(&mut self, sizes: Sizes) -> impl Iterator<Item = Line> {
        let (undelivered, _, is_overrun) = sizes;
        let states = [
            (&mut self.left, undelivered > 0, LEFT),
            (&mut self.overrun, is_overrun, OVERRUN),
        ];
        let changed = |(said, is, lines): (&mut bool, bool, [Line; 2])| {
            (mem::replace(said, is) != is).then(|| lines[usize::from(is)])
        };
        states.into_iter().filter_map(changed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_change_of_what_is_owed_is_said_once() {
        let mut said = Said::default();
        let steps: [(Sizes, &[Line]); 9] = [
            ((0, 1, false), &[]),
            ((1, 0, false), &[LEFT[1]]),
            ((2, 0, false), &[]),
            ((10_000, 0, true), &[OVERRUN[1]]),
            ((10_000, 0, true), &[]),
            ((1, 0, false), &[OVERRUN[0]]),
            ((0, 0, true), &[LEFT[0], OVERRUN[1]]),
            ((0, 0, false), &[OVERRUN[0]]),
            ((0, 0, false), &[]),
        ];
        for (sizes, lines) in steps {
            let news: Vec<_> = said.news(sizes).collect();
            assert_eq!(news, lines, "{sizes:?}");
        }
    }
}

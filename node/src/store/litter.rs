//! Which segments of a log hold dead bytes, by their share of each, so that the one whose items are worth moving most is
//! found at once, and so is that there is none.

/// Bands of shares, one in thirty-two of a segment each. What is less than one is not worth moving the rest for.
pub(super) const BANDS: usize = 32;

/// Where a segment is listed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Listed {
    /// Its band; in band 0 it is not listed.
    pub(super) band: u8,
    /// Its place among those of its band.
    at: u16,
}

/// The listed segments of one log.
#[derive(Debug, Default)]
pub(super) struct Litter {
    bands: [Vec<u16>; BANDS],
    /// A bit for each band that has any.
    filled: u32,
}

/// The band of a segment of which so many bytes are dead.
#[inline]
pub(super) fn band(dead: usize, len: usize) -> usize {
    (dead * BANDS / len).min(BANDS - 1)
}

impl Litter {
    /// Whether any is listed in this band or a higher one.
    #[inline]
    pub(super) fn reaches(&self, band: usize) -> bool {
        self.filled >> band != 0
    }

    /// One of those of which most is dead, unless all are below this band.
    pub(super) fn worst(&self, least: usize) -> Option<u16> {
        let band = self.filled.checked_ilog2()? as usize;
        if band < least { None } else { self.bands[band].last().copied() }
    }

    /// Lists a segment.
    pub(super) fn add(&mut self, number: u16, band: usize) -> Listed {
        if band == 0 {
            return Listed::default();
        }
        self.filled |= 1 << band;
        self.bands[band].push(number);
        // A log has at most as many segments as there are numbers.
        Listed { band: band as u8, at: (self.bands[band].len() - 1) as u16 }
    }

    /// Strikes a segment off; the one that has its place now, if there is one.
    pub(super) fn remove(&mut self, listed: Listed) -> Option<u16> {
        let band = usize::from(listed.band);
        if band == 0 {
            return None;
        }
        let numbers = &mut self.bands[band];
        numbers.swap_remove(usize::from(listed.at));
        if numbers.is_empty() {
            self.filled &= !(1 << band);
        }
        numbers.get(usize::from(listed.at)).copied()
    }

    /// Whether the segment is listed there.
    pub(super) fn has(&self, number: u16, listed: Listed) -> bool {
        listed.band == 0 || self.bands[usize::from(listed.band)].get(usize::from(listed.at)) == Some(&number)
    }

    /// How many are listed.
    pub(super) fn len(&self) -> usize {
        self.bands.iter().map(Vec::len).sum()
    }
}

//! What a message says of itself, so that whoever receives it can check and time it.

/// The payload of a measured message is one MessagePack `bin` value, so that rallypoint's check of it is at work as it
/// is for its users, and everybody relays the same bytes. In it: who sent it, its number, when it was due, and filler
/// that follows from the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The sender's number.
    pub from: u32,
    /// The message's number among the sender's.
    pub n: u32,
    /// When it was to be sent, in nanoseconds of the generator's clock.
    pub due: u64,
}

/// The least length of a payload.
pub const LEAST: usize = 3 + 16;

impl Stamp {
    /// The payload, `length` bytes in all.
    pub fn write(self, length: usize) -> Vec<u8> {
        assert!((LEAST..=65_538).contains(&length), "a stamp fits in, and the length into a bin 16");
        let mut out = Vec::with_capacity(length);
        out.push(0xc5);
        out.extend(((length - 3) as u16).to_be_bytes());
        out.extend(self.from.to_le_bytes());
        out.extend(self.n.to_le_bytes());
        out.extend(self.due.to_le_bytes());
        out.resize(length, self.filler());
        out
    }

    /// Reads and checks a payload of a known length.
    pub fn read(payload: &[u8], length: usize) -> Option<Self> {
        let (&[0xc5, high, low], rest) = payload.split_first_chunk()? else { return None };
        if payload.len() != length || usize::from(u16::from_be_bytes([high, low])) != rest.len() {
            return None;
        }
        let (from, rest) = rest.split_first_chunk()?;
        let (n, rest) = rest.split_first_chunk()?;
        let (due, rest) = rest.split_first_chunk()?;
        let (from, n) = (u32::from_le_bytes(*from), u32::from_le_bytes(*n));
        let stamp = Self { from, n, due: u64::from_le_bytes(*due) };
        let filler = stamp.filler();
        rest.iter().all(|byte| *byte == filler).then_some(stamp)
    }

    fn filler(self) -> u8 {
        (self.n ^ self.from) as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_reads_back_and_a_damaged_one_does_not() {
        let stamp = Stamp { from: 7, n: 70_000, due: 1 << 40 };
        for length in [LEAST, 48, 64, 300, 2500] {
            let payload = stamp.write(length);
            assert_eq!((payload.len(), Stamp::read(&payload, length)), (length, Some(stamp)));
            assert_eq!(Stamp::read(&payload, length + 1), None);
            assert_eq!(Stamp::read(&payload[..length - 1], length), None);
            if length > LEAST {
                let mut damaged = payload;
                damaged[length - 1] ^= 1;
                assert_eq!(Stamp::read(&damaged, length), None);
            }
        }
    }
}

//! The command line.

use rallypoint_client::protocol::Encoding;

pub(crate) const HELP: &str = "\
Players move in one room; the promises of both move lanes are checked and latencies printed.

  --url URL          the server [ws://127.0.0.1:3000/v1/ws]
  --token-from URL   ask a --dev server for tokens [http://127.0.0.1:3000/dev/token]
  --tokens FILE      tokens from a file, one a line, one for each player
  --token T          one token for all players
  --origin O         Origin of the token request [http://localhost:3000]
  --room NAME        the room [a new one]
  --encoding E       msgpack or json [msgpack]
  --players N        2 to 256 [8]
  --rate R           moves a second of each player on each lane, 1 to 1000 [20]
  --seconds S        how long to send, 1 to 3600 [10]
  --size B           bytes of a payload, at least 24 [48]
  --stall S          player 0 stops reading for S seconds in the middle; only latest moves are sent
  --compare-stall S  runs without and with such a stall, in turns; the p99 of the others must not
                     rise by more than half (median), and player 0 gets at most a tenth of what it slept through
  --rounds N         how many such pairs, 1 to 100 [5]
  --json             print one JSON object as the last line, everything else on standard error
";

/// Where tokens come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Tokens {
    From(String),
    File(String),
    One(String),
}

#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) url: String,
    pub(crate) tokens: Tokens,
    pub(crate) origin: String,
    pub(crate) room: Option<String>,
    pub(crate) encoding: Encoding,
    pub(crate) players: usize,
    pub(crate) rate: u32,
    pub(crate) seconds: u32,
    pub(crate) size: usize,
    pub(crate) stall: Option<f64>,
    pub(crate) compare_stall: Option<f64>,
    pub(crate) rounds: u32,
    /// A reader of the reliable lane that stalls is closed as a slow consumer, by design.
    pub(crate) latest_only: bool,
    pub(crate) json: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            url: "ws://127.0.0.1:3000/v1/ws".to_owned(),
            tokens: Tokens::From("http://127.0.0.1:3000/dev/token".to_owned()),
            origin: "http://localhost:3000".to_owned(),
            room: None,
            encoding: Encoding::MsgPack,
            players: 8,
            rate: 20,
            seconds: 10,
            size: 48,
            stall: None,
            compare_stall: None,
            rounds: 5,
            latest_only: false,
            json: false,
        }
    }
}

impl Options {
    /// Reads the arguments; an error is a sentence, empty when help was asked for.
    pub(crate) fn read(mut args: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        while let Some(name) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{name} needs a value"));
            match name.as_str() {
                "--url" => options.url = value()?,
                "--token-from" => options.tokens = Tokens::From(value()?),
                "--tokens" => options.tokens = Tokens::File(value()?),
                "--token" => options.tokens = Tokens::One(value()?),
                "--origin" => options.origin = value()?,
                "--room" => options.room = Some(value()?),
                "--encoding" => {
                    options.encoding = match value()?.as_str() {
                        "json" => Encoding::Json,
                        "msgpack" => Encoding::MsgPack,
                        other => return Err(format!("there is no encoding {other}")),
                    }
                }
                "--players" => options.players = number(&name, &value()?, 2.0, 256.0)? as usize,
                "--rate" => options.rate = number(&name, &value()?, 1.0, 1000.0)? as u32,
                "--seconds" => options.seconds = number(&name, &value()?, 1.0, 3600.0)? as u32,
                "--size" => options.size = number(&name, &value()?, 24.0, 65_536.0)? as usize,
                "--stall" => options.stall = Some(number(&name, &value()?, 0.1, 3600.0)?),
                "--compare-stall" => options.compare_stall = Some(number(&name, &value()?, 0.1, 3600.0)?),
                "--rounds" => options.rounds = number(&name, &value()?, 1.0, 100.0)? as u32,
                "--json" => options.json = true,
                "--help" | "-h" => return Err(String::new()),
                other => return Err(format!("there is no option {other}")),
            }
        }
        let stall = options.stall.or(options.compare_stall);
        if stall.is_some_and(|stall| stall >= f64::from(options.seconds)) {
            return Err("a stall is shorter than --seconds".to_owned());
        }
        options.latest_only = stall.is_some();
        Ok(options)
    }
}

fn number(name: &str, text: &str, least: f64, most: f64) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number| (least..=most).contains(number));
    number.ok_or_else(|| format!("{name} is a number from {least} to {most}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Options, String> {
        Options::read(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn the_command_line_is_read() {
        let options = read("--players 3 --rate 50 --stall 2.5 --tokens f --json --encoding json").unwrap();
        assert_eq!((options.players, options.rate, options.stall, options.json), (3, 50, Some(2.5), true));
        assert_eq!((options.tokens, options.encoding), (Tokens::File("f".to_owned()), Encoding::Json));
        for bad in
            ["--players", "--players 1", "--rate x", "--stall 10", "--compare-stall 10", "--what", "--encoding xml"]
        {
            assert!(read(bad).is_err_and(|why| !why.is_empty()), "{bad}");
        }
        assert_eq!(read("--help").unwrap_err(), "");
    }
}

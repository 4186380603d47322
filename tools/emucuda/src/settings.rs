//! What the environment says there is, and what goes wrong.

use std::{env, str::FromStr, sync::OnceLock};

/// See the crate's documentation.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Settings {
    pub(crate) devices: usize,
    pub(crate) memory_bytes: usize,
    pub(crate) driver: i32,
    pub(crate) capability: (i32, i32),
    /// Whether GPUs say that they reach one another.
    pub(crate) peers: bool,
    /// Whether they then do.
    pub(crate) peers_open: bool,
    pub(crate) pin_bytes_max: usize,
    pub(crate) jitter_us: u64,
    pub(crate) seed: u64,
    /// GPU and launch.
    pub(crate) lose: Option<(usize, u64)>,
    /// GPU and launch.
    pub(crate) stick: Option<(usize, u64)>,
    /// Who does not wait, and for whom, as numbers of streams.
    pub(crate) drop_waits: Option<(usize, usize)>,
    /// Which allocation on GPUs finds no room, from 0.
    pub(crate) full: Option<u64>,
    /// Whether what was captured is taken as a graph.
    pub(crate) graphs: bool,
    /// Where to write how often each function was called.
    pub(crate) calls: Option<String>,
    /// What `cudnnGetVersion` says.
    pub(crate) cudnn: usize,
    /// What is wrong with a library, and with which part of it.
    pub(crate) library: Option<(String, String)>,
}

/// Of this process.
pub(crate) fn settings() -> &'static Settings {
    static SETTINGS: OnceLock<Settings> = OnceLock::new();
    SETTINGS.get_or_init(|| Settings::read(|name| env::var(format!("EMUCUDA_{name}")).ok()))
}

impl Settings {
    /// What is wrong with `part` of a library.
    pub(crate) fn fault(&self, part: &str) -> Option<&str> {
        let (fault, of) = self.library.as_ref()?;
        (of == part).then_some(fault)
    }

    pub(crate) fn read(variable: impl Fn(&str) -> Option<String>) -> Self {
        let number = |name, default| variable(name).map_or(default, |text| parse(name, &text));
        let pair = |name, between| variable(name).map(|text| halves(name, &text, between));
        let (major, minor) =
            variable("CAPABILITY").map_or((8, 0), |text| halves("CAPABILITY", &text, '.'));
        Self {
            devices: number("DEVICES", 2) as usize,
            memory_bytes: (number("MEMORY_MIB", 2048) as usize) << 20,
            driver: number("DRIVER", 12_090) as i32,
            capability: (major, minor),
            peers: number("PEERS", 1) != 0,
            peers_open: number("PEERS", 1) == 1,
            pin_bytes_max: number("PIN_BYTES_MAX", u64::MAX) as usize,
            jitter_us: number("JITTER_US", 200),
            seed: number("SEED", 1),
            lose: variable("LOSE").map(|text| halves("LOSE", &text, ':')),
            stick: variable("STICK").map(|text| halves("STICK", &text, ':')),
            drop_waits: pair("DROP_WAITS", '<'),
            full: variable("FULL").map(|text| parse("FULL", &text)),
            graphs: number("GRAPHS", 1) != 0,
            calls: variable("CALLS"),
            cudnn: number("CUDNN", 92_100) as usize,
            library: variable("LIBRARY").map(|text| halves("LIBRARY", &text, ':')),
        }
    }
}

fn parse<T: FromStr>(name: &str, text: &str) -> T {
    text.trim().parse().unwrap_or_else(|_| panic!("EMUCUDA_{name}={text} is no number"))
}

fn halves<A: FromStr, B: FromStr>(name: &str, text: &str, between: char) -> (A, B) {
    let (a, b) = text
        .split_once(between)
        .unwrap_or_else(|| panic!("EMUCUDA_{name}={text} lacks its `{between}`"));
    (parse(name, a), parse(name, b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_say_what_there_is() {
        let none = Settings::read(|_| None);
        assert_eq!((none.devices, none.capability, none.lose), (2, (8, 0), None));
        let some = Settings::read(|name| match name {
            "CAPABILITY" => Some("6.1".into()),
            "LOSE" => Some("1:250".into()),
            "DROP_WAITS" => Some("1<0".into()),
            "PEERS" => Some("0".into()),
            "LIBRARY" => Some("wrong:data".into()),
            _ => None,
        });
        assert_eq!((some.fault("data"), some.fault("gemm")), (Some("wrong"), None));
        assert_eq!(some.capability, (6, 1));
        assert_eq!((some.lose, some.drop_waits), (Some((1, 250)), Some((1, 0))));
        assert!(!some.peers && !some.peers_open && some.pin_bytes_max == usize::MAX);
    }
}

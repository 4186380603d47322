//! `--tune`: what is timed on GPUs before a run.

use clap::ValueEnum;
use gpu::cuda::libraries::Timed;

/// What is timed on GPUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Tune {
    /// Nothing.
    Off,
    /// The tiles of the program's own kernels, which change no bit.
    Tiles,
    /// These, and whether cuDNN or cuBLAS, by which algorithm, is faster: sums are then rounded as that one rounds.
    All,
}

impl From<Tune> for Timed {
    fn from(tune: Tune) -> Self {
        match tune {
            Tune::Off => Self::Nothing,
            Tune::Tiles => Self::Tiles,
            Tune::All => Self::All,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser as _;

    #[test]
    fn what_is_timed_can_be_left_out_and_is_all_by_the_bare_flag() {
        let tune = |flags: &[&str]| {
            let args = [&["alexnet", "run"], flags].concat();
            match Cli::try_parse_from(args).expect("flags").command {
                Command::Run(args) => args.tune,
                _ => unreachable!("it is a run"),
            }
        };
        assert_eq!(tune(&[]), Tune::Tiles);
        assert_eq!(tune(&["--tune", "--steps", "3"]), Tune::All);
        assert_eq!(tune(&["--tune=off"]), Tune::Off);
    }
}

//! The same loops compiled for CPUs with BMI2, whose shifts need no fixed register.

#![cfg(target_arch = "x86_64")]

use super::{
    Fault, Mcu, Order, Prediction, Reader,
    block::{self, Coded, Natural},
};
use crate::jpeg::level::{Level, Set};

pub(super) fn decode(
    level: Level, reader: &mut Reader, data: &[u8], mcu: Mcu<'_>, count: usize,
    prediction: &mut Prediction, blocks: &mut [[i16; 64]],
) -> Result<(), Fault> {
    assert_ne!(level.set(), Set::Baseline, "which has no BMI2");
    match Order::of(level) {
        // SAFETY: both levels but the baseline have the features, and a level is proof of them.
        Order::Natural => unsafe { natural(reader, data, mcu, count, prediction, blocks) },
        // SAFETY: as above.
        Order::Zigzag => unsafe { coded(reader, data, mcu, count, prediction, blocks) },
    }
}

pub(super) fn skip(
    level: Level, reader: &mut Reader, data: &[u8], mcu: Mcu<'_>, count: usize,
    prediction: &mut Prediction,
) -> Result<(), Fault> {
    assert_ne!(level.set(), Set::Baseline, "which has no BMI2");
    // SAFETY: both levels but the baseline have the features, and a level is proof of them.
    unsafe { passed(reader, data, mcu, count, prediction) }
}

#[target_feature(enable = "bmi1,bmi2,lzcnt,movbe")]
fn natural(
    reader: &mut Reader, data: &[u8], mcu: Mcu<'_>, count: usize, prediction: &mut Prediction,
    blocks: &mut [[i16; 64]],
) -> Result<(), Fault> {
    block::decode::<Natural>(reader, data, mcu, count, prediction, blocks)
}

#[target_feature(enable = "bmi1,bmi2,lzcnt,movbe")]
fn coded(
    reader: &mut Reader, data: &[u8], mcu: Mcu<'_>, count: usize, prediction: &mut Prediction,
    blocks: &mut [[i16; 64]],
) -> Result<(), Fault> {
    block::decode::<Coded>(reader, data, mcu, count, prediction, blocks)
}

#[target_feature(enable = "bmi1,bmi2,lzcnt,movbe")]
fn passed(
    reader: &mut Reader, data: &[u8], mcu: Mcu<'_>, count: usize, prediction: &mut Prediction,
) -> Result<(), Fault> {
    super::skip::skip(reader, data, mcu, count, prediction)
}

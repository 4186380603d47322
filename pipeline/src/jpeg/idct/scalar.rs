//! One block at a time, for any CPU; the other versions are held to it.

use super::{CONST_BITS, EVEN, ODD, SHIFTS};

/// `block` and `steps` row by row.
pub(super) fn block(block: &[i16; 64], steps: &[i16; 64], out: &mut [u8], stride: usize) {
    let mut rows = [0; 64];
    for ((value, coefficient), step) in rows.iter_mut().zip(block).zip(steps) {
        *value = coefficient.wrapping_mul(*step);
    }
    for x in 0..8 {
        let column = pass(std::array::from_fn(|y| rows[8 * y + x]), SHIFTS[0]);
        for (y, value) in column.into_iter().enumerate() {
            rows[8 * y + x] = value;
        }
    }
    for (row, out) in rows.as_chunks().0.iter().zip(out.chunks_mut(stride)) {
        for (value, out) in pass(*row, SHIFTS[1]).into_iter().zip(out) {
            *out = (i32::from(value) + 128).clamp(0, 255) as u8;
        }
    }
}

/// One dimension: inputs to outputs, saturated to 16 bits.
fn pass(x: [i16; 8], shift: u32) -> [i16; 8] {
    let x = x.map(i32::from);
    let sum = |constants: &[i16], inputs: &[usize]| -> i32 {
        constants.iter().zip(inputs).map(|(c, i)| i32::from(*c) * x[*i]).sum()
    };
    let rounding = 1 << (shift - 1);
    let base = [(x[0] + x[4]) << CONST_BITS, (x[0] - x[4]) << CONST_BITS];
    let even: [i32; 4] = std::array::from_fn(|i| {
        if i < 2 {
            base[i] + sum(&EVEN[i], &[2, 6])
        } else {
            base[3 - i] - sum(&EVEN[3 - i], &[2, 6])
        }
    });
    std::array::from_fn(|i| {
        let j = i.min(7 - i);
        let odd = sum(&ODD[j], &[1, 3, 5, 7]);
        let value = even[j] + if i < 4 { odd } else { -odd } + rounding;
        (value >> shift).clamp(i16::MIN.into(), i16::MAX.into()) as i16
    })
}

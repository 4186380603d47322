//! Between the layouts of checkpoints, which are the CPU's and PyTorch's, and those of CUDA devices.
//!
//! Both ways are one turn of small matrices: `[blocks][channels][area]` <-> `[blocks][area][channels]`.
//!
//! | what | blocks | channels | area |
//! |---|---|---|---|
//! | activations | images | `c` | `h w` |
//! | weights of a convolution | kernels | `weight_channels` | `window^2` |
//! | weights of the first linear layer | units x sources | those of a source | `h w` of what is read |

/// `to` = `from` with the channels of each block last.
///
/// # Panics
/// If they differ in length or are no whole blocks.
pub fn channels_last<T: Copy>(from: &[T], to: &mut [T], channels: usize, area: usize) {
    assert_eq!(from.len(), to.len(), "lengths");
    let block = channels * area;
    assert!(from.len().is_multiple_of(block), "{} are no blocks of {block}", from.len());
    for (from, to) in from.chunks_exact(block).zip(to.chunks_exact_mut(block)) {
        for (c, plane) in from.chunks_exact(area).enumerate() {
            for (value, pixel) in plane.iter().zip(to.chunks_exact_mut(channels)) {
                pixel[c] = *value;
            }
        }
    }
}

/// `to` = `from` with the channels of each block first again.
///
/// # Panics
/// As [`channels_last`].
pub fn channels_first<T: Copy>(from: &[T], to: &mut [T], channels: usize, area: usize) {
    channels_last(from, to, area, channels);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back_is_where_one_was() {
        // Two blocks of three channels of two pixels: tens are channels, ones pixels.
        let planes = [0, 1, 10, 11, 20, 21, 100, 101, 110, 111, 120, 121];
        let (mut pixels, mut back) = ([0; 12], [0; 12]);
        channels_last(&planes, &mut pixels, 3, 2);
        assert_eq!(pixels, [0, 10, 20, 1, 11, 21, 100, 110, 120, 101, 111, 121]);
        channels_first(&pixels, &mut back, 3, 2);
        assert_eq!(back, planes);
    }
}

//! What cuDNN's convolutions are, by plain loops in double precision: `[n, h, w, c]`, `[k, r, s, c]`.

/// Shapes of a convolution, all as cuDNN has them described.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) images: usize,
    pub(crate) channels: usize,
    pub(crate) height: usize,
    pub(crate) width: usize,
    pub(crate) kernels: usize,
    pub(crate) window: [usize; 2],
    pub(crate) pad: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) groups: usize,
}

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pass {
    Forward,
    Data,
    Weight,
}

impl Pass {
    /// In settings.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Data => "data",
            Self::Weight => "weight",
        }
    }
}

/// Sums of the products of two rows, in double precision.
fn dot(a: &[f32], b: &[f32]) -> f64 {
    let mut sums = [0.0; 8];
    let (a, b) = (a.chunks(8), b.chunks(8));
    for (a, b) in a.zip(b) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += f64::from(*a) * f64::from(*b);
        }
    }
    sums.iter().sum()
}

fn add_scaled(to: &mut [f64], factor: f32, from: &[f32]) {
    for (to, from) in to.iter_mut().zip(from) {
        *to += f64::from(factor) * f64::from(*from);
    }
}

impl Problem {
    /// Height and width of the output.
    pub(crate) const fn out(&self) -> [usize; 2] {
        [
            (self.height + 2 * self.pad[0] - self.window[0]) / self.stride[0] + 1,
            (self.width + 2 * self.pad[1] - self.window[1]) / self.stride[1] + 1,
        ]
    }

    /// Floats of `x`, `w` and `y`.
    pub(crate) const fn lens(&self) -> [usize; 3] {
        let [out_height, out_width] = self.out();
        [
            self.images * self.height * self.width * self.channels,
            self.kernels * self.window[0] * self.window[1] * (self.channels / self.groups),
            self.images * out_height * out_width * self.kernels,
        ]
    }

    /// Calls `each` with a kernel, and with where its products of one place and tap begin in `x`, `w` and `y`:
    /// as many in `x` and `w` as a group has channels, one in `y`.
    fn each(&self, mut each: impl FnMut(usize, usize, usize)) {
        let ([out_height, out_width], [taps_y, taps_x]) = (self.out(), self.window);
        let channels = self.channels / self.groups;
        for place in 0..self.images * out_height * out_width {
            let (image, y, x) = (
                place / out_width / out_height,
                place / out_width % out_height,
                place % out_width,
            );
            for tap in 0..taps_y * taps_x {
                let at_y = y * self.stride[0] + tap / taps_x;
                let at_x = x * self.stride[1] + tap % taps_x;
                let inside = (self.pad[0]..self.pad[0] + self.height).contains(&at_y)
                    && (self.pad[1]..self.pad[1] + self.width).contains(&at_x);
                if !inside {
                    continue;
                }
                let row = image * self.height + at_y - self.pad[0];
                let pixel = (row * self.width + at_x - self.pad[1]) * self.channels;
                for kernel in 0..self.kernels {
                    let group = kernel / (self.kernels / self.groups);
                    let weights = (kernel * taps_y * taps_x + tap) * channels;
                    each(pixel + group * channels, weights, place * self.kernels + kernel);
                }
            }
        }
    }

    /// The result of a pass from its two operands, in cuDNN's order.
    pub(crate) fn solve(&self, pass: Pass, [first, second]: [&[f32]; 2]) -> Vec<f64> {
        let ([x_len, w_len, y_len], channels) = (self.lens(), self.channels / self.groups);
        match pass {
            Pass::Forward => {
                let mut y = vec![0.0; y_len];
                self.each(|at_x, at_w, at_y| {
                    y[at_y] += dot(&first[at_x..][..channels], &second[at_w..][..channels]);
                });
                y
            }
            Pass::Data => {
                let mut dx = vec![0.0; x_len];
                self.each(|at_x, at_w, at_y| {
                    add_scaled(
                        &mut dx[at_x..][..channels],
                        second[at_y],
                        &first[at_w..][..channels],
                    );
                });
                dx
            }
            Pass::Weight => {
                let mut dw = vec![0.0; w_len];
                self.each(|at_x, at_w, at_y| {
                    add_scaled(
                        &mut dw[at_w..][..channels],
                        second[at_y],
                        &first[at_x..][..channels],
                    );
                });
                dw
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_sees_its_own_channels_and_zeros_lie_around() {
        let problem = Problem {
            images: 1,
            channels: 2,
            height: 2,
            width: 2,
            kernels: 2,
            window: [3, 3],
            pad: [1, 1],
            stride: [1, 1],
            groups: 2,
        };
        assert_eq!((problem.out(), problem.lens()), ([2, 2], [8, 18, 8]));
        // Channel 0: 1 2 3 4; channel 1: ten times that. Kernels of ones and of twos.
        let x = [1.0, 10.0, 2.0, 20.0, 3.0, 30.0, 4.0, 40.0];
        let w: Vec<f32> = (0..18).map(|i| if i < 9 { 1.0 } else { 2.0 }).collect();
        let y = problem.solve(Pass::Forward, [&x, &w]);
        assert_eq!(y, [10.0, 200.0, 10.0, 200.0, 10.0, 200.0, 10.0, 200.0]);
        let dy = [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0];
        let dx = problem.solve(Pass::Data, [&w, &dy]);
        assert_eq!(dx, [1.0, 2.0, 1.0, 2.0, 1.0, 2.0, 1.0, 2.0]);
        let dw = problem.solve(Pass::Weight, [&x, &dy]);
        assert_eq!(dw[..9], [0.0, 0.0, 0.0, 0.0, 1.0, 2.0, 0.0, 3.0, 4.0]);
        assert_eq!(dw[9..], [10.0, 20.0, 0.0, 30.0, 40.0, 0.0, 0.0, 0.0, 0.0]);
    }
}

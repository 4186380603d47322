//! ReLU (section 3.1) and tanh, in place; the gradient is taken from the output.

pub(crate) mod cpu;

//! `prepack` from outside: what it writes, what it says, what it leaves behind.

mod common;
mod build;
mod parts;
mod odd_trees;
mod faults;
mod agree;
mod verify;
mod inspect;
mod synth;
mod screen;

//! Trains the two-tower network of Krizhevsky, Sutskever and Hinton (2012) from JPEGs.
//!
//! The modules stand in the order in which a run comes to life: recipe, net, towers, trainer,
//! supervisor, commands. `pipeline` brings the pictures, `gpu` the devices and their ops.

pub mod config;
pub mod model;
pub mod algorithms;
pub mod weights;
pub mod exchange;
pub mod tower;
pub mod schedule;
pub mod loss_scale;
mod files;
pub mod checkpoint;
pub mod metrics;
pub mod rundir;
pub mod evaluate;
pub mod event;
pub mod plan;
pub mod diverged;
pub mod flat;
pub mod trainer;
pub mod progress;
pub mod supervisor;
pub mod devices;
pub mod log;
pub mod render;
pub mod cli;
pub mod commands;

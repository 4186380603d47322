//! What a part of the net hands on to its device as it comes.

use super::core::Core;
use crate::exchange::Times;
use gpu::device::{Device, DeviceError, Home, Span};

impl<D: Device> Core<D> {
    /// From where it is best called.
    pub fn home(&self) -> Home {
        self.device.home()
    }

    /// Memory for a ring slot.
    ///
    /// # Errors
    /// If the device has no room.
    pub fn slot(&self, bytes: usize) -> Result<D::Slot, DeviceError> {
        self.device.slot(bytes)
    }

    /// The device.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// What the user should hear of the device, since the last call.
    pub fn remarks(&mut self) -> Vec<String> {
        self.device.remarks()
    }

    /// What the device itself took for the batch whose score was asked for last, in place of what its
    /// calls did.
    pub fn seconds(&mut self, times: &mut Times) {
        if let Some([there, back]) = self.device.seconds() {
            (times.forward, times.backward, times.update) = (there, back, 0.0);
        }
    }

    /// Has the device keep what its streams do, for [`Core::spans`].
    ///
    /// # Errors
    /// If the device fails.
    pub fn watch(&mut self) -> Result<(), DeviceError> {
        self.device.watch()
    }

    /// Tells what the device's streams have done since the last call.
    pub fn spans(&mut self, each: &mut dyn FnMut(Span)) {
        self.device.spans(each);
    }

    /// Something has failed: the device is not waited for any more.
    pub fn give_up(&mut self) {
        self.device.give_up();
    }
}

//! torch-bridge
pub fn autocast<T>(_device: tch::Device, _kind: Option<tch::Kind>, body: impl FnOnce() -> T) -> T { body() }

//! The samples of a JPEG file by libjpeg-turbo, where the feature `turbo` is on.
#![expect(unsafe_code, reason = "libjpeg-turbo is a C library; every call to it is in this file")]

use std::ffi::{CStr, c_int};

use turbojpeg_sys as sys;

use super::DecodeError;
use super::jpeg::Frame;

/// Progressive files with more scans are refused, as zune-jpeg does: a small file can hold thousands.
const MAX_SCANS: c_int = 100;

/// The samples of `frame`, row by row.
///
/// The library's warnings, which stand for damaged or missing data, are errors. So is a missing end mark, which
/// zune-jpeg lets pass where all pixels are there.
pub fn samples(bytes: &[u8], frame: Frame) -> Result<Vec<u8>, DecodeError> {
    let decoder = Decoder::new()?;
    decoder.read_header(bytes)?;
    // The buffer is made for the frame, so the library must have read the same one.
    let size = [sys::TJPARAM_TJPARAM_JPEGWIDTH, sys::TJPARAM_TJPARAM_JPEGHEIGHT]
        .map(|side| usize::try_from(decoder.get(side)).unwrap_or(0));
    if size != [frame.width, frame.height] {
        return Err(DecodeError::new("the header gives more than one size"));
    }
    let space = decoder.get(sys::TJPARAM_TJPARAM_COLORSPACE) as sys::TJCS;
    if matches!(space, sys::TJCS_TJCS_CMYK | sys::TJCS_TJCS_YCCK) {
        return decoder.read(bytes, size, sys::TJPF_TJPF_CMYK, 4).map(|inks| of_paper(&inks));
    }
    let format = if frame.channels == 1 { sys::TJPF_TJPF_GRAY } else { sys::TJPF_TJPF_RGB };
    decoder.read(bytes, size, format, frame.channels)
}

/// RGB of CMYK stored as the paper left free, 255 where there is no ink: every known writer does that.
fn of_paper(samples: &[u8]) -> Vec<u8> {
    let mut rgb = Vec::with_capacity(samples.len() / 4 * 3);
    for &[c, m, y, k] in samples.as_chunks().0 {
        // The product of two shares, rounded.
        rgb.extend([c, m, y].map(|ink| ((u32::from(ink) * u32::from(k) + 127) / 255) as u8));
    }
    rgb
}

/// An instance of the library; never null.
struct Decoder(sys::tjhandle);

impl Decoder {
    fn new() -> Result<Self, DecodeError> {
        // SAFETY: takes no pointer.
        let handle = unsafe { sys::tj3Init(sys::TJINIT_TJINIT_DECOMPRESS as c_int) };
        if handle.is_null() {
            return Err(DecodeError::new("no memory for the JPEG decoder"));
        }
        let decoder = Self(handle);
        decoder.set(sys::TJPARAM_TJPARAM_SCANLIMIT, MAX_SCANS);
        // A colour profile that is broken would count as a warning; none is read.
        decoder.set(sys::TJPARAM_TJPARAM_SAVEMARKERS, 0);
        Ok(decoder)
    }

    fn set(&self, parameter: sys::TJPARAM, value: c_int) {
        // SAFETY: the handle is live.
        unsafe { sys::tj3Set(self.0, parameter as c_int, value) };
    }

    fn get(&self, parameter: sys::TJPARAM) -> c_int {
        // SAFETY: the handle is live.
        unsafe { sys::tj3Get(self.0, parameter as c_int) }
    }

    fn read_header(&self, bytes: &[u8]) -> Result<(), DecodeError> {
        // SAFETY: the handle is live; the library reads `bytes.len()` bytes and keeps none.
        let status = unsafe { sys::tj3DecompressHeader(self.0, bytes.as_ptr(), bytes.len() as _) };
        self.check(status)
    }

    /// The whole image; `[width, height]` and the header of `bytes` agree, and `format` has `channels` samples.
    fn read(
        &self,
        bytes: &[u8],
        [width, height]: [usize; 2],
        format: sys::TJPF,
        channels: usize,
    ) -> Result<Vec<u8>, DecodeError> {
        let mut samples = vec![0; width * height * channels];
        let pitch = 0; // Rows without padding.
        // SAFETY: the handle is live, the library reads `bytes.len()` bytes, and it writes rows of
        // width · channels bytes, as many as the header of the same bytes says: `samples` holds them all.
        let status = unsafe {
            let (from, to) = (bytes.as_ptr(), samples.as_mut_ptr());
            sys::tj3Decompress8(self.0, from, bytes.len() as _, to, pitch, format)
        };
        self.check(status).map(|()| samples)
    }

    /// The error of the last call, if it had one. Warnings leave the status of an error, and the first one its text.
    fn check(&self, status: c_int) -> Result<(), DecodeError> {
        if status == 0 {
            return Ok(());
        }
        // SAFETY: a string that ends with zero, valid until this thread's next call.
        let problem = unsafe { CStr::from_ptr(sys::tj3GetErrorStr(self.0)) }.to_string_lossy();
        match &*problem {
            // Bytes between the data and the end mark: all pixels have been read by then.
            stray if stray.ends_with("extraneous bytes before marker 0xd9") => Ok(()),
            "Premature end of JPEG file" => Err(DecodeError::truncated()),
            problem => Err(DecodeError::from(problem)),
        }
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        // SAFETY: the handle is live, and nothing uses it afterwards.
        unsafe { sys::tj3Destroy(self.0) };
    }
}

//! File bytes to an [`Image`].
//!
//! The format is found from the content, never from a file's name. An image comes back as a viewer shows it: upright
//! (EXIF orientation applied), without transparency (composed over white), 16 bits where the file has them. A file
//! that is cut short is an error, not half a picture.

use std::panic::catch_unwind;

use crate::image::Image;

pub use orientation::Orientation;
mod depth;
mod directory;
pub mod jpeg;
mod orientation;
mod other;
mod part;
mod png;
mod tiff;
mod transparency;
mod webp;

pub use part::{Decoder, Opened, Place};

/// The largest image that is decoded, in samples (width · height · channels): a small file can claim to be an
/// enormous image, and the claim is checked before memory is taken. 90 megapixels of RGB.
pub const MAX_SAMPLES: u64 = 1 << 28;

pub use depth::Conversion;

/// Why bytes are not an image.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub struct DecodeError {
    /// What was found.
    pub problem: String,
    /// What to do about it, where that is known.
    pub hint: Option<String>,
}

/// Which JPEG decoder this build has.
pub const JPEG_DECODER: &str = "vertebra's own, equal to libjpeg-turbo";

/// The image in the bytes of a JPEG, PNG, WebP, TIFF, BMP, GIF or PNM file; of an animation or a multi-page file the
/// first frame.
///
/// A TIFF with a palette gives its indices (they are intensities in microscopy), one with more than four samples per
/// pixel all of them as channels. Samples of other kinds than unsigned integers of 8 or 16 bits become such, as
/// [`Conversion`] says. Never panics.
pub fn decode(bytes: &[u8]) -> Result<Image, DecodeError> {
    Ok(decode_and_tell(bytes)?.0)
}

/// [`decode`], and what was done to the samples; `None` where they are those of the file.
pub fn decode_and_tell(bytes: &[u8]) -> Result<(Image, Option<Conversion>), DecodeError> {
    let format = Format::of(bytes).ok_or_else(|| not_an_image(bytes))?;
    // The decoders are other people's, and some are known to panic on broken files.
    let (image, conversion) = catch_unwind(|| format.decode(bytes))
        .unwrap_or_else(|_| Err(DecodeError::gave_up()))
        .map_err(|error| error.of_format(format))?;
    if image.width * image.height * image.channels == 0 {
        return Err(DecodeError::new(format!("{}: the image is empty", format.name())));
    }
    Ok((image, conversion))
}

impl DecodeError {
    fn new(problem: impl Into<String>) -> Self {
        Self { problem: problem.into(), hint: None }
    }

    fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// What a decoder says.
    fn from(error: impl std::fmt::Display) -> Self {
        Self::new(format!("cannot be decoded: {}", error.to_string().trim_end()))
    }

    /// The same error, after the name of the format.
    fn of_format(self, format: Format) -> Self {
        Self { problem: format!("{}: {}", format.name(), self.problem), ..self }
    }

    fn gave_up() -> Self {
        Self::new("the decoder gave up on this file")
    }

    fn truncated() -> Self {
        Self::new("the file ends before the image does").with_hint("fetch or copy the file again")
    }
}

#[derive(Clone, Copy)]
enum Format {
    Jpeg,
    Png,
    Webp,
    Tiff,
    Other(::image::ImageFormat),
}

impl Format {
    fn of(bytes: &[u8]) -> Option<Self> {
        use ::image::ImageFormat::{Bmp, Gif, Pnm};
        Some(match bytes {
            [0xFF, 0xD8, 0xFF, ..] => Self::Jpeg,
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1A, b'\n', ..] => Self::Png,
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Self::Webp,
            // 42 is the classic file, 43 the one with 64-bit offsets.
            [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Self::Tiff,
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Self::Other(Gif),
            [b'B', b'M', ..] if bytes.len() > 26 && bytes[17] == 0 => Self::Other(Bmp),
            [b'P', b'1'..=b'6', space, ..] if space.is_ascii_whitespace() => Self::Other(Pnm),
            _ => return None,
        })
    }

    fn name(self) -> &'static str {
        use ::image::ImageFormat::{Bmp, Gif};
        match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::Webp => "WebP",
            Self::Tiff => "TIFF",
            Self::Other(Bmp) => "BMP",
            Self::Other(Gif) => "GIF",
            Self::Other(_) => "PNM",
        }
    }

    fn decode(self, bytes: &[u8]) -> Result<(Image, Option<Conversion>), DecodeError> {
        let image = match self {
            Self::Tiff => return tiff::decode(bytes),
            Self::Jpeg => jpeg::decode(bytes),
            Self::Png => png::decode(bytes),
            Self::Webp => webp::decode(bytes),
            Self::Other(format) => other::decode(bytes, format),
        };
        Ok((image?, None))
    }
}

/// Refuses an image whose header claims more than [`MAX_SAMPLES`].
fn check_size(width: u64, height: u64, channels: u64) -> Result<(), DecodeError> {
    let samples = width.saturating_mul(height).saturating_mul(channels);
    if samples <= MAX_SAMPLES {
        return Ok(());
    }
    let problem = format!(
        "the header claims {width}×{height} pixels of {channels} channels, more than {MAX_SAMPLES} samples"
    );
    Err(DecodeError::new(problem).with_hint("cut the image into tiles, if it is really so large"))
}

/// What bytes that no decoder knows look like.
fn not_an_image(bytes: &[u8]) -> DecodeError {
    let head = &bytes[..bytes.len().min(32)];
    let printable = |b: &u8| b.is_ascii_graphic() || b.is_ascii_whitespace();
    let problem = match bytes {
        [] => "the file is empty".into(),
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => "an HEIC, AVIF or video file".into(),
        [b'%', b'P', b'D', b'F', ..] => "a PDF document".into(),
        [0x1F, 0x8B, ..] | [b'P', b'K', 3, 4, ..] => "a compressed archive".into(),
        _ if head.iter().all(printable) => {
            let line = String::from_utf8_lossy(head);
            format!("text, which begins with \"{}\"", line.trim().lines().next().unwrap_or(""))
        }
        _ => {
            let hex: Vec<String> = head.iter().take(8).map(|b| format!("{b:02x}")).collect();
            format!("an unknown format, which begins with the bytes {}", hex.join(" "))
        }
    };
    DecodeError::new(format!("not an image that can be read: {problem}"))
        .with_hint("JPEG, PNG, WebP, TIFF, BMP, GIF and PNM are read")
}

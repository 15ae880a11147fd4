//! The colours of pixels, a row at a time, by the formulas and the rounding of libjpeg.

/// YCbCr to RGB: the constants of JFIF with 16 bits behind the point, each sum rounded once.
///
/// Red is Y + 1.402·Cr, blue Y + 1.772·Cb, green Y − 0.34414·Cb − 0.71414·Cr. The whole parts of the constants
/// are split off, so that the rest fits into 16 bits and wide vectors.
#[inline(always)]
pub fn of_ycc([y, cb, cr]: [&[u8]; 3], [red, green, blue]: [&mut [u8]; 3]) {
    let count = y.len();
    let (cb, cr) = (&cb[..count], &cr[..count]);
    let (red, green, blue) = (&mut red[..count], &mut green[..count], &mut blue[..count]);
    for k in 0..count {
        let (y, cb, cr) = (i16::from(y[k]), i16::from(cb[k]) - 128, i16::from(cr[k]) - 128);
        red[k] = clamped(y + cr + scaled(cr, 26_345));
        blue[k] = clamped(y + 2 * cb + scaled(cb, -14_942));
        let mixed = i32::from(cb) * -22_554 + i32::from(cr) * 18_734;
        green[k] = clamped(y - cr + ((mixed + 32_768) >> 16) as i16);
    }
}

/// CMYK stored as the paper left free, 255 where there is no ink: every known writer does that.
#[inline(always)]
pub fn of_cmyk(inks: [&[u8]; 3], black: &[u8], rgb: [&mut [u8]; 3]) {
    for (free, out) in inks.into_iter().zip(rgb) {
        for ((out, &free), &black) in out.iter_mut().zip(free).zip(black) {
            *out = product(free, black);
        }
    }
}

/// CMYK, of which CMY, as ink, went through the matrix of YCbCr.
#[inline(always)]
pub fn of_ycck(ycc: [&[u8]; 3], black: &[u8], [red, green, blue]: [&mut [u8]; 3]) {
    of_ycc(ycc, [&mut *red, &mut *green, &mut *blue]);
    for out in [red, green, blue] {
        for (out, &black) in out.iter_mut().zip(black) {
            *out = product(255 - *out, black);
        }
    }
}

/// The product of two shares, rounded.
fn product(a: u8, b: u8) -> u8 {
    ((u32::from(a) * u32::from(b) + 127) / 255) as u8
}

fn clamped(value: i16) -> u8 {
    value.clamp(0, 255) as u8
}

/// `value · factor / 2¹⁶`, rounded half up, in steps that a vector unit has for 16 bits. `value` lies in [−128, 127].
#[inline(always)]
fn scaled(value: i16, factor: i16) -> i16 {
    (((i32::from(2 * value) * i32::from(factor)) >> 16) as i16 + 1) >> 1
}

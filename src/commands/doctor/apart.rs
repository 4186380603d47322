//! How far what was computed lies from what is wanted.

/// The norm of the difference, relative to that of what is wanted; infinite where it is no number.
pub(super) fn apart(found: &[f32], wanted: &[f32]) -> f64 {
    assert_eq!(found.len(), wanted.len(), "lengths");
    let (mut difference, mut norm) = (0.0_f64, 0.0_f64);
    for (found, wanted) in found.iter().zip(wanted) {
        let (found, wanted) = (f64::from(*found), f64::from(*wanted));
        difference += (found - wanted).powi(2);
        norm += wanted * wanted;
    }
    let apart = if difference == 0.0 { 0.0 } else { (difference / norm).sqrt() };
    if apart.is_finite() { apart } else { f64::INFINITY }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_that_is_no_number_is_none_at_all() {
        assert_eq!(apart(&[1.0, 2.0], &[1.0, 2.0]), 0.0);
        assert_eq!(apart(&[0.0], &[0.0]), 0.0, "nothing is as wanted");
        assert_eq!(apart(&[1.0], &[0.0]), f64::INFINITY);
        assert_eq!(apart(&[f32::NAN, 2.0], &[1.0, 2.0]), f64::INFINITY);
        assert!((apart(&[3.0, 4.5], &[3.0, 4.0]) - 0.1).abs() < 1e-12);
    }
}

use super::*;

fn close(found: f64, wanted: f64, tolerance: f64) {
    assert!((found - wanted).abs() <= tolerance, "{found} is not {wanted}");
}

// The references are given with eight decimals.
const PRINTED: f64 = 1e-8;

#[test]
fn the_wilson_interval_has_its_published_value() {
    let [low, high] = wilson(85, 100);
    close(low, 0.767_164_40, PRINTED);
    close(high, 0.906_940_15, PRINTED);
    assert_eq!(wilson(0, 0), [0.0, 1.0]);
    // Rounding of f64.
    close(wilson(0, 7)[0], 0.0, 1e-15);
    close(wilson(7, 7)[1], 1.0, 1e-15);
}

#[test]
fn mcnemar_has_its_published_value() {
    close(mcnemar_exact(12, 25), 0.047_031_03, PRINTED);
    close(mcnemar_exact(25, 12), 0.047_031_03, PRINTED);
    assert_eq!(mcnemar_exact(0, 0), 1.0);
    assert_eq!(mcnemar_exact(30, 30), 1.0);
    // 2 · 2⁻¹⁰
    close(mcnemar_exact(0, 10), 0.001_953_125, 1e-15);
}

#[test]
fn means_over_seeds_use_students_t() {
    let found = over_seeds(&[71.2, 70.8, 71.9]).unwrap();
    close(found.mean, 71.3, 1e-12);
    close(found.std, 0.556_776_44, PRINTED);
    // The reference has four decimals.
    close(found.half, 1.3831, 5e-5);
    assert_eq!(over_seeds(&[71.2]), None);
}

#[test]
fn the_t_quantile_is_exact_on_both_sides_of_its_table() {
    close(student_t(30), 2.042_272_456, 1e-6);
    // The expansion's first dropped term is 1.8e-6 for 31 degrees of freedom and falls with their fourth power.
    close(student_t(31), 2.039_513_446, 2e-6);
    close(student_t(100), 1.983_971_519, 2e-8);
}

#[test]
fn the_bootstrap_of_a_mean_agrees_with_the_normal_interval() {
    let values: Vec<f64> = (0..400).map(|i| f64::from(u8::from(i % 4 != 0))).collect();
    let half = Z * (0.75f64 * 0.25 / 400.0).sqrt();
    let [low, high] = bootstrap_mean(&values, 4000, 3);
    // A 0.025 quantile of 4000 resamples has a standard error of 0.04 standard errors of the mean; five.
    let slack = 5.0 * 0.043 * half / Z;
    close(low, 0.75 - half, slack);
    close(high, 0.75 + half, slack);
}

#[test]
fn the_bootstrap_repeats_for_a_seed_and_differs_between_seeds() {
    let values: Vec<f64> = (0..50).map(|i| f64::from(i).sin()).collect();
    assert_eq!(bootstrap_mean(&values, 100, 1), bootstrap_mean(&values, 100, 1));
    assert_ne!(bootstrap_mean(&values, 100, 1), bootstrap_mean(&values, 100, 2));
}

#[test]
fn a_paired_difference_is_narrower_than_the_models_apart() {
    let a: Vec<f64> = (0..200).map(|i| f64::from(u8::from(i % 2 == 0))).collect();
    let mut b = a.clone();
    b[0] = 0.0;
    let (difference, [low, high]) = paired_difference(&a, &b, 1000, 0).unwrap();
    close(difference, 0.005, 1e-12);
    assert!(low == 0.0 && high < 0.02, "[{low}, {high}]");
    assert_eq!(paired_difference(&a, &b[1..], 1000, 0), None);
}

#[test]
fn quantiles_interpolate_between_order_statistics() {
    close(quantile(&[1.0, 2.0, 4.0], 0.75), 3.0, 1e-15);
    assert_eq!(quantile(&[5.0], 0.975), 5.0);
}

#[test]
fn groups_of_equal_items_have_the_interval_of_their_number() {
    // Eighty items are twenty groups of four equal ones: as if there were twenty.
    let single: Vec<f64> = (0..20).map(|i| f64::from(u8::from(i % 3 == 0))).collect();
    let values: Vec<f64> = (0..80).map(|i| single[i % 20]).collect();
    let groups: Vec<_> = (0..80).map(|i| Some(i % 20)).collect();
    let units = Units::of(&groups, 80);
    assert_eq!(units.len(), 20);
    let grouped = bootstrap_units(&units, 500, 7, |items| mean_of(&values, items));
    let [low, high] = bootstrap_mean(&single, 500, 7);
    // The same draws; the sums have four times the terms.
    close(grouped[0], low, 1e-12);
    close(grouped[1], high, 1e-12);
    let [free_low, free_high] = bootstrap_mean(&values, 500, 7);
    assert!(free_high - free_low < 0.7 * (high - low), "groups widen the interval");
}

#[test]
fn items_without_company_are_units_of_their_own() {
    assert_eq!(
        units(&[Some(5), None, Some(5), None, Some(2)], 5),
        [vec![0, 2], vec![1], vec![3], vec![4]]
    );
    assert!(matches!(Units::of(&[], 3), Units::Items(3)));
    assert!(matches!(Units::of(&[Some(1), Some(2)], 2), Units::Items(2)));
}

#[test]
fn an_independent_difference_has_the_variance_of_both() {
    let a: Vec<f64> = (0..300).map(|i| f64::from(u8::from(i % 4 != 0))).collect();
    let b: Vec<f64> = (0..200).map(|i| f64::from(u8::from(i % 2 == 0))).collect();
    let (difference, [low, high]) =
        independent_difference((&a, &Units::Items(300)), (&b, &Units::Items(200)), 4000, 1);
    close(difference, 0.25, 1e-12);
    let half = Z * (0.75f64 * 0.25 / 300.0 + 0.25 / 200.0).sqrt();
    // As for the bootstrap of one mean: five standard errors of a 0.025 quantile of 4000 resamples.
    let slack = 5.0 * 0.043 * half / Z;
    close(low, 0.25 - half, slack);
    close(high, 0.25 + half, slack);
    let empty = independent_difference((&[], &Units::Items(0)), (&b, &Units::Items(200)), 10, 1);
    assert!(empty.1[0].is_nan());
}

#[test]
fn a_comparison_of_two_classifiers_counts_where_they_differ() {
    // 12 items that only the first has right and 25 that only the second has, of a hundred.
    let a: Vec<f64> = (0..100).map(|i| f64::from(u8::from(!(12..60).contains(&i)))).collect();
    let b: Vec<f64> =
        (0..100).map(|i| f64::from(u8::from((12..37).contains(&i) || i >= 60))).collect();
    let found = Comparison::paired(&a, &b, &[]).unwrap();
    close(found.difference, -0.13, 1e-12);
    close(found.p.unwrap(), 0.047_031_03, PRINTED);
    assert!(!found.tie && found.interval[1] < 0.0, "{found:?}");
    let words = found.in_words("small", "large");
    assert!(words.starts_with("small is worse than large by 13.0 points (95 % −"), "{words}");
    assert!(words.ends_with(", p = 0.0470)"), "{words}");
    assert!(Comparison::paired(&a, &b[1..], &[]).is_none());
}

#[test]
fn a_difference_that_may_be_nothing_is_a_tie_in_words() {
    let a: Vec<f64> = (0..60).map(|i| f64::from(u8::from(i % 2 == 0))).collect();
    let b: Vec<f64> = (0..60).map(|i| f64::from(u8::from(i % 2 == 0 || i == 7))).collect();
    let found = Comparison::paired(&a, &b, &[]).unwrap();
    assert!(found.tie);
    assert!(found.in_words("one", "two").starts_with("one and two are tied: −1.7 points (95 % "));
    // Items that are no right and wrong answers, or that belong together, have no such p.
    let halves: Vec<f64> = a.iter().map(|item| item / 2.0).collect();
    assert_eq!(Comparison::paired(&halves, &b, &[]).unwrap().p, None);
    let groups: Vec<_> = (0..60).map(|i| Some(i / 6)).collect();
    assert_eq!(Comparison::paired(&a, &b, &groups).unwrap().p, None);
}

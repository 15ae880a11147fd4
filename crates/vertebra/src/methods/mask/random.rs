//! Patches hidden one by one (He 2022, MAE).

use pixels::draw::{Draw, Purpose};

/// The patches of one image, by their places, in random order: those that are seen, int(T · (1 − ratio)) of T as in the authors'
/// code, and those that are hidden. At least one is seen, and one is hidden where there are two.
///
/// `at` is the image's address, see [`address`](super::address).
pub fn split(patches: usize, ratio: f64, at: Draw) -> (Vec<i64>, Vec<i64>) {
    let order = at.stream(Purpose::Mask).permutation(patches);
    let mut order: Vec<i64> = order.into_iter().map(|place| place as i64).collect();
    let hidden = order.split_off(seen(patches, ratio));
    (order, hidden)
}

/// How many of `patches` are seen.
fn seen(patches: usize, ratio: f64) -> usize {
    let seen = (patches as f64 * (1.0 - ratio)) as usize;
    seen.min(patches.saturating_sub(1)).max(1).min(patches)
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Draw = Draw { seed: 1, epoch: 2, sample: 3, view: 0 };

    #[test]
    fn as_many_are_seen_as_in_the_authors_code() {
        // The second and third are what is left of 19.6 and 58.8.
        for (patches, ratio, wanted) in [
            (196, 0.75, 49),
            (196, 0.9, 19),
            (196, 0.7, 58),
            (64, 0.75, 16),
            (4, 0.75, 1),
            (4, 0.9, 1),
            (4, 0.1, 3),
            (1, 0.5, 1),
        ] {
            let (kept, hidden) = split(patches, ratio, AT);
            assert_eq!(
                (kept.len(), hidden.len()),
                (wanted, patches - wanted),
                "{patches}, {ratio}"
            );
        }
    }

    #[test]
    fn every_patch_is_seen_or_hidden_and_each_as_often_as_the_others() {
        let mut counts = [0; 16];
        for sample in 0..4000 {
            let (kept, hidden) = split(16, 0.75, Draw { sample, ..AT });
            for &place in &kept {
                counts[place as usize] += 1;
            }
            let mut all = [kept, hidden].concat();
            all.sort_unstable();
            assert!(all.into_iter().eq(0..16));
        }
        // 1000 expected, standard deviation 27: five of them.
        assert!(counts.iter().all(|count| (863..1137).contains(count)), "{counts:?}");
    }

    #[test]
    fn every_part_of_the_address_gives_another_order_and_one_address_one() {
        let of = |at| split(196, 0.75, at);
        assert_eq!(of(AT), of(AT));
        for other in [
            Draw { seed: 9, ..AT },
            Draw { epoch: 9, ..AT },
            Draw { sample: 9, ..AT },
            Draw { view: 1, ..AT },
        ] {
            assert_ne!(of(AT), of(other));
        }
    }
}

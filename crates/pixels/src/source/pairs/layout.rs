//! Where data sets of optical flow keep their frames, seen from the file of the flow.

/// The files of a pair; frames without an extension, for sets differ in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) first: String,
    pub(super) next: String,
    /// An image that is not black where a pixel is hidden, and one where its vector is not to be used.
    pub(super) occluded: Option<String>,
    pub(super) invalid: Option<String>,
}

/// The places where the frames of a flow file can be; its path is relative and has `/` between its parts.
pub(super) fn places(flow: &str) -> Vec<Pair> {
    let stem = flow.rsplit_once('.').map_or(flow, |(stem, _)| stem);
    let (folder, name) = stem.rsplit_once('/').unwrap_or(("", stem));
    let mut pairs = Vec::new();
    pairs.extend(chairs(stem));
    pairs.extend(middlebury(folder, name));
    pairs.extend(kitti(folder, name));
    pairs.extend(sintel(folder, name));
    pairs
}

impl Pair {
    fn of(first: String, next: String) -> Self {
        Self { first, next, occluded: None, invalid: None }
    }
}

/// FlyingChairs: `00001_flow.flo` between `00001_img1.ppm` and `00001_img2.ppm`; its second version: `0000000-flow_01.flo`
/// from `-img_0.png` to `-img_1.png` with `-occ_01.png`, and `flow_10` the other way.
fn chairs(stem: &str) -> Option<Pair> {
    if let Some(key) = stem.strip_suffix("_flow") {
        return Some(Pair::of(format!("{key}_img1"), format!("{key}_img2")));
    }
    let (key, way) = stem.rsplit_once("-flow_")?;
    let (from, to) = match way {
        "01" => (0, 1),
        "10" => (1, 0),
        _ => return None,
    };
    let pair = Pair::of(format!("{key}-img_{from}"), format!("{key}-img_{to}"));
    Some(Pair { occluded: Some(format!("{key}-occ_{way}")), ..pair })
}

/// Middlebury: `other-gt-flow/NAME/flow10.flo` between `other-data/NAME/frame10.png` and `frame11.png`.
fn middlebury(folder: &str, name: &str) -> Option<Pair> {
    let number: u32 = name.strip_prefix("flow")?.parse().ok()?;
    let beside =
        swapped(folder, "other-gt-flow", "other-data").unwrap_or_else(|| folder.to_owned());
    let frame = |number: u32| join(&beside, &format!("frame{number:02}"));
    Some(Pair::of(frame(number), frame(number.checked_add(1)?)))
}

/// KITTI: `training/flow_occ/000000_10.png` between `training/image_2/000000_10.png` and `000000_11.png`; the older set has
/// `colored_0` or `image_0`.
fn kitti(folder: &str, name: &str) -> Vec<Pair> {
    let Some((key, number)) = name.rsplit_once('_') else { return Vec::new() };
    let Some(next) = number.parse().ok().and_then(|number: u32| number.checked_add(1)) else {
        return Vec::new();
    };
    let beside = |images: &str| {
        ["flow_occ", "flow_noc"].iter().find_map(|flow| swapped(folder, flow, images))
    };
    let images = ["image_2", "colored_0", "image_0"].into_iter().filter_map(beside);
    images.map(|at| Pair::of(join(&at, name), join(&at, &format!("{key}_{next:02}")))).collect()
}

/// Sintel: `training/flow/SCENE/frame_0001.flo` between `training/clean/SCENE/frame_0001.png` and `frame_0002.png`, with
/// `occlusions` and `invalid`; `final` instead of `clean` is the other rendering.
fn sintel(folder: &str, name: &str) -> Vec<Pair> {
    let Some(number) = name.strip_prefix("frame_").and_then(|n| n.parse::<u32>().ok()) else {
        return Vec::new();
    };
    let at = |what: &str, name: &str| Some(join(&swapped(folder, "flow", what)?, name));
    let pair = |pass: &str| {
        let next = format!("frame_{:04}", number.checked_add(1)?);
        Some(Pair {
            first: at(pass, name)?,
            next: at(pass, &next)?,
            occluded: at("occlusions", name),
            invalid: at("invalid", name),
        })
    };
    ["clean", "final"].into_iter().filter_map(pair).collect()
}

/// The path with its last part of the name `old` replaced; `None` when it has none.
fn swapped(path: &str, old: &str, new: &str) -> Option<String> {
    let mut parts: Vec<&str> = path.split('/').collect();
    let place = parts.iter().rposition(|part| *part == old)?;
    parts[place] = new;
    Some(parts.join("/"))
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_set_has_its_frames_where_it_keeps_them() {
        for (flow, first, next) in [
            ("d/00001_flow.flo", "d/00001_img1", "d/00001_img2"),
            ("0000000-flow_10.flo", "0000000-img_1", "0000000-img_0"),
            (
                "m/other-gt-flow/Urban/flow10.flo",
                "m/other-data/Urban/frame10",
                "m/other-data/Urban/frame11",
            ),
            ("t/flow_occ/000000_10.png", "t/image_2/000000_10", "t/image_2/000000_11"),
            ("t/flow/alley/frame_0009.flo", "t/clean/alley/frame_0009", "t/clean/alley/frame_0010"),
        ] {
            let pair = &places(flow)[0];
            assert_eq!((pair.first.as_str(), pair.next.as_str()), (first, next));
        }
        assert_eq!(
            places("t/flow/a/frame_0001.flo")[0].occluded.as_deref(),
            Some("t/occlusions/a/frame_0001")
        );
        for flow in
            ["x.flo", "", "flow99999999999.flo", "_4294967295.png", "flow/frame_4294967295.flo"]
        {
            assert_eq!(places(flow), [], "{flow}");
        }
    }
}

use super::super::tiny;
use super::*;
use crate::models::vit::predictor::Conditioning;

fn canvases(model: &WorldModel) -> Vec<Canvas> {
    let source = pixels::source::open("world:?size=16&count=7").unwrap();
    Canvas::drawn(source.as_ref(), &model.encoder.preprocess, 7, 0).unwrap()
}

#[test]
fn the_nearest_come_first_and_the_rank_is_that_of_the_true_one() {
    let distances = Tensor::from_slice(&[3.0f32, 1.0, 2.0, 0.5, 0.6, 0.7]).view([2, 3]);
    let found = imagined(&distances, &[0, 0], 2).unwrap();
    assert_eq!(found[0], Imagined { nearest: vec![1, 2], rank: 3.0 });
    assert_eq!(found[1], Imagined { nearest: vec![0, 1], rank: 1.0 });
    assert!(imagined(&(distances / 0.0 * 0.0), &[0, 0], 2).is_err(), "numbers that are none");
}

#[test]
fn a_predictor_that_is_told_nothing_imagines_one_version() {
    let (model, _) = tiny(Conditioning::None);
    let canvas = &canvases(&model)[0];
    let settings = canvas.settings([0.4, 0.4, 0.2, 0.1], 8, 0);
    let found = acted(&model, canvas, &settings, 3, 1).unwrap();
    assert_eq!(found.len(), 3);
    assert!(found.iter().all(|it| it.nearest == found[0].nearest));
}

#[test]
fn a_hidden_place_is_predicted_from_the_rest_alone() {
    for conditioning in [Conditioning::None, Conditioning::Feature] {
        let (model, _) = tiny(conditioning);
        let mut canvases = canvases(&model);
        let bank = targets(&model, &canvases).unwrap();
        assert_eq!(bank.size(), [7, 16, 64]);
        let region = CropBox { top: 1, left: 2, height: 2, width: 2 };
        let found = hidden(&model, &canvases[2], 2, &bank, region, 4).unwrap();
        assert!(found.nearest.len() == 4 && (1.0..=7.0).contains(&found.rank));
        // Other pixels in the hidden place, which is 8 pixels wide, change nothing.
        let mut samples = canvases[2].image.as_u8().unwrap().to_vec();
        for y in 4..12 {
            samples[(y * 16 + 8) * 3..(y * 16 + 16) * 3].fill(7);
        }
        canvases[2].image = pixels::image::Image::from_u8(16, 16, 3, samples);
        assert_eq!(hidden(&model, &canvases[2], 2, &bank, region, 4).unwrap(), found);
    }
}

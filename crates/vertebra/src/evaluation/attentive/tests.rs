use pixels::draw::{Draw, Purpose, Stream};
use pixels::image::Image;
use pixels::plan::{Interpolation, Normalize, Preprocess};
use pixels::source::{SourceError, Stored, open};
use tch::{Device, Kind, Tensor};

use super::*;
use crate::evaluation::{ExtractOptions, LinearConfig, encoder, linear};
use crate::models::resnet::{ResNetConfig, Stem};
use crate::models::vit::{Pool, VitConfig};
use crate::models::{Backbone, BackboneConfig, Features, Mode, Tap};
use crate::training::checkpoint::EncoderSpec;

const CHANNELS: usize = 8;
const SIDE: usize = 4;

/// Sixteen places of eight channels. One place is marked (channel 0) and has its class in channel 1; the other places
/// have the values of channel 1 that make its mean the same in every image. Sample 5 cannot be read.
struct Needles {
    count: usize,
    seed: u64,
}

impl Source for Needles {
    fn len(&self) -> usize {
        self.count
    }

    fn fetch(&self, index: usize, _buffer: &mut Vec<u8>) -> Result<Stored, SourceError> {
        if index == 5 {
            return Err(SourceError::new(self.name(index), "expected an image, found nothing"));
        }
        let places = SIDE * SIDE;
        let mut stream = self.stream(index);
        let class = stream.below(2) as usize;
        let order = stream.permutation(places);
        let mut values = vec![0u8; places * CHANNELS];
        for (turn, place) in order.into_iter().enumerate() {
            let channels = &mut values[place * CHANNELS..][..CHANNELS];
            channels.fill_with(|| 100 + stream.below(50) as u8);
            channels[0] = if turn == 0 { 255 } else { 0 };
            channels[1] = if turn % 2 == class { 255 } else { 0 };
        }
        Ok(Stored::Pixels(Image::from_u8(SIDE, SIDE, CHANNELS, values)))
    }

    fn label(&self, index: usize) -> Option<u32> {
        (index != 2).then(|| self.stream(index).below(2) as u32)
    }

    fn name(&self, index: usize) -> String {
        format!("#{index}")
    }

    fn classes(&self) -> &[String] {
        &[]
    }

    fn fingerprint(&self) -> String {
        format!("{} of {}", self.count, self.seed)
    }
}

impl Needles {
    /// Its first number is the class.
    fn stream(&self, index: usize) -> Stream {
        Draw { sample: index as u64, ..Draw::of_seed(self.seed) }.stream(Purpose::World)
    }
}

/// The pixels are the tokens.
struct Pixels;

impl Backbone for Pixels {
    fn forward(&self, images: &Tensor, mode: Mode, _: &mut Tap) -> Features {
        assert_eq!(mode, Mode::Eval, "an encoder is frozen");
        let tokens = images.flatten(2, 3).transpose(1, 2);
        let pooled = tokens.mean_dim([1i64].as_slice(), false, Kind::Float);
        Features { pooled, map: None, tokens: Some(tokens) }
    }

    fn width(&self) -> i64 {
        CHANNELS as i64
    }
}

fn needles(count: usize, seed: u64) -> Arc<dyn Source> {
    Arc::new(Needles { count, seed })
}

fn pixels() -> Encoder {
    Encoder {
        name: "pixels".into(),
        backbone: Box::new(Pixels),
        preprocess: Preprocess {
            resize: SIDE,
            crop: SIDE,
            interpolation: Interpolation::Bicubic,
            normalize: Normalize { mean: vec![0.5; CHANNELS], std: vec![0.25; CHANNELS] },
        },
        channels: CHANNELS,
        channels_last: false,
        device: Device::Cpu,
        autocast: None,
        weights_hash: String::new(),
        variables: std::collections::BTreeMap::new(),
    }
}

fn quick() -> AttentiveConfig {
    AttentiveConfig {
        learning_rates: vec![3e-3, 1e-2],
        epochs: 20,
        batch: 25,
        ..Default::default()
    }
}

fn judged(config: &AttentiveConfig, train: usize, test: usize) -> Result<Outcome> {
    evaluate(&pixels(), &needles(train, 1), &needles(test, 2), config, &mut |_, _, _| {})
}

/// A small real encoder, and what it is made of.
fn tiny(backbone: BackboneConfig) -> (Encoder, EncoderSpec) {
    let preprocess = Preprocess {
        resize: 16,
        crop: 16,
        interpolation: Interpolation::Bicubic,
        normalize: Normalize::imagenet(),
    };
    let spec = EncoderSpec::new(backbone, 3, preprocess);
    (encoder::random(&spec, 1, Device::Cpu, None), spec)
}

fn tiny_vit() -> BackboneConfig {
    BackboneConfig::VitTiny(VitConfig {
        image: 16,
        patch: 8,
        pool: Pool::Class,
        ..VitConfig::default()
    })
}

#[test]
fn one_place_among_many_is_found_where_the_mean_says_nothing() {
    let outcome = judged(&quick(), 300, 202).unwrap();
    let [score] = &outcome.scores[..] else { panic!("two classes have no top-5") };
    assert_eq!((score.protocol.as_str(), score.metric.as_str()), ("attentive", "top1"));
    // One test image has no label, and one cannot be read.
    assert_eq!((score.samples, outcome.items.len()), (200, 200));
    assert!(score.value > 0.95, "{}", score.value);
    assert!(score.setting.contains(" of 2, "), "{}", score.setting);

    let table = |source| pixels().extract(&source, &ExtractOptions::default()).unwrap();
    let config = LinearConfig { epochs: 20, ..LinearConfig::default() };
    let linear =
        linear::evaluate(&table(needles(300, 1)), &[("", &table(needles(202, 2)))], "x", &config)
            .unwrap();
    // Chance, within four standard errors of 200 throws of a coin.
    assert!((linear.scores[0].value - 0.5).abs() < 0.142, "{}", linear.scores[0].value);
}

#[test]
fn tokens_made_anew_give_the_score_of_kept_ones() {
    let config = AttentiveConfig { epochs: 3, ..quick() };
    let kept = judged(&config, 80, 60).unwrap();
    let anew = judged(&AttentiveConfig { memory: 0.0, ..config.clone() }, 80, 60).unwrap();
    assert!(anew.scores[0].setting.ends_with(", tokens made anew in each epoch"));
    // Here an unreadable image is known to be none only when its batch is short of it.
    assert_eq!(anew.scores[0].samples, kept.scores[0].samples);
    let again = judged(&config, 80, 60).unwrap();
    assert_eq!(kept.items, again.items, "the same seed gives the same numbers");
    assert!(!kept.scores[0].setting.contains("anew"));
}

#[test]
fn kept_and_made_tokens_are_the_same_numbers() {
    let encoder = pixels();
    let task = || Supervised::new(&needles(5, 1), &needles(5, 2)).unwrap().train;
    let all = |tokens: &Tokens| {
        let mut parts = Vec::new();
        let mut take = |x: &Tensor, _: &Tensor| {
            parts.push(x.copy());
            Ok(())
        };
        tokens.for_each(&[3, 0, 1, 2], 3, &mut take).unwrap();
        Tensor::cat(&parts, 0)
    };
    let kept = Tokens::of(&encoder, task(), 1.0).unwrap();
    let anew = Tokens::of(&encoder, task(), 0.0).unwrap();
    assert!(kept.are_kept() && !anew.are_kept());
    assert_eq!((kept.width(), anew.width()), (8, 8));
    assert!(all(&kept).equal(&all(&anew)));
}

#[test]
fn the_choice_is_made_on_a_tenth_that_was_not_learned_from() {
    // Of 22 images, 20 can be used: 18 to learn from, and 2 that are right by halves.
    let config = AttentiveConfig { learning_rates: vec![1e-9, 2e-9], epochs: 1, ..quick() };
    let setting = judged(&config, 22, 20).unwrap().scores.swap_remove(0).setting;
    let halves = ["0.000", "0.500", "1.000"].map(|share| format!("{share} held out"));
    assert!(halves.iter().any(|text| setting.contains(text)), "{setting}");
}

#[test]
fn learning_rates_that_diverge_are_left_out() {
    let config = AttentiveConfig { learning_rates: vec![1e39, 1e-2], epochs: 3, ..quick() };
    let outcome = judged(&config, 80, 60).unwrap();
    assert!(outcome.scores[0].setting.starts_with("lr=0.01 of 2"), "{}", outcome.scores[0].setting);
    for learning_rates in [vec![1e39], vec![1e39, 1e38]] {
        let config = AttentiveConfig { learning_rates, epochs: 2, ..quick() };
        let error = judged(&config, 80, 60).unwrap_err();
        assert!(error.to_string().contains("diverged"), "{error}");
    }
}

#[test]
fn a_frozen_encoder_is_the_same_bit_for_bit_afterwards() {
    let resnet = ResNetConfig { stem: Stem::Small, width: 4, zero_init_residual: false };
    for backbone in [tiny_vit(), BackboneConfig::Resnet18(resnet)] {
        let (encoder, _) = tiny(backbone);
        let before = crate::models::weights::fingerprint(&encoder.variables);
        let (train, test) = (
            open("world:?size=16&count=24").unwrap(),
            open("world:?size=16&count=8&split=test").unwrap(),
        );
        let config = AttentiveConfig { epochs: 2, batch: 8, ..Default::default() };
        let mut told = Vec::new();
        let outcome = evaluate(&encoder, &train, &test, &config, &mut |done, all, loss| {
            assert!(loss.is_finite());
            told.push((done, all));
        })
        .unwrap();
        assert_eq!(told, [(1, 4), (2, 4), (3, 4), (4, 4)]);
        assert_eq!(outcome.items.len(), 8);
        assert_eq!(crate::models::weights::fingerprint(&encoder.variables), before);
        assert!(encoder.variables.values().all(|it| !it.grad().defined()), "no gradient was made");
    }
}

#[test]
fn tokens_are_a_transformers_own_or_the_places_of_a_map() {
    let images = Tensor::randn([2, 3, 16, 16], (Kind::Float, Device::Cpu));
    let (encoder, _) = tiny(tiny_vit());
    assert_eq!(encoder.tokens_of(&images).unwrap().size(), [2, 5, 192]);
    let resnet = ResNetConfig { stem: Stem::Small, width: 4, zero_init_residual: false };
    let (encoder, _) = tiny(BackboneConfig::Resnet18(resnet));
    let tokens = encoder.tokens_of(&images).unwrap();
    assert_eq!(tokens.size(), [2, 4, 32]);
    let features = encoder.backbone.forward(&images, Mode::Eval, &mut crate::models::no_tap);
    let map = features.map.unwrap();
    assert!(tokens.select(1, 1).equal(&map.select(2, 0).select(2, 1)), "row by row");
}

#[test]
fn what_cannot_be_judged_is_refused() {
    for config in [
        AttentiveConfig { learning_rates: vec![], ..quick() },
        AttentiveConfig { learning_rates: vec![0.0], ..quick() },
        AttentiveConfig { weight_decay: -1.0, ..quick() },
        AttentiveConfig { memory: f64::NAN, ..quick() },
        AttentiveConfig { epochs: 0, ..quick() },
        AttentiveConfig { batch: 0, ..quick() },
    ] {
        assert!(judged(&config, 20, 20).is_err(), "{config:?}");
    }
    let evaluated = |train: Arc<dyn Source>, test: Arc<dyn Source>| {
        evaluate(&pixels(), &train, &test, &quick(), &mut |_, _, _| {}).unwrap_err().to_string()
    };
    assert!(evaluated(needles(20, 1), needles(20, 1)).contains("are the same"));
    // Of one image there is no tenth.
    let one = evaluated(needles(1, 1), needles(20, 2));
    assert!(one.contains("two labelled training images"), "{one}");
    let unread: Arc<dyn Source> = pixels::source::picked(needles(20, 1), vec![5]);
    let error = evaluated(unread, needles(20, 2));
    assert!(error.contains("none of the labelled images could be read"), "{error}");
    let unlabelled = pixels::source::picked(needles(20, 1), vec![2]);
    assert!(evaluated(unlabelled, needles(20, 2)).contains("the training source has no labels"));
    let zeros = |seed| {
        let source = needles(60, seed);
        let of_class_0 = (0..60).filter(|&sample| source.label(sample) == Some(0)).collect();
        pixels::source::picked(source, of_class_0)
    };
    assert!(evaluated(zeros(1), zeros(2)).contains("the same label"));
}

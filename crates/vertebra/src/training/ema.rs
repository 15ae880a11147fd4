//! The teacher: a copy of the student that follows it slowly. Its momentum is a schedule,
//! [`cosine`](super::schedule::cosine) or [`linear`](super::schedule::linear) from τ₀ to 1.

use std::collections::BTreeMap;
use std::path::PathBuf;

use tch::Tensor;
use torch_bridge::steps;

use crate::error::{Error, Result};

/// θ' ← τθ' + (1 − τ)θ for each of the teacher's tensors, with `momentum` τ, after the optimizer's
/// step.
///
/// Give it parameters only: a teacher's batch statistics come from its own passes. Both sides are
/// f32, for at τ = 0.9995 the increment is below the resolution of bf16 and the teacher would stand
/// still. The student may have more (a predictor); a tensor that it lacks or holds in another shape
/// is an error.
pub fn follow(
    teacher: &BTreeMap<String, Tensor>,
    student: &BTreeMap<String, Tensor>,
    momentum: f64,
) -> Result<()> {
    let (slow, fast) = pairs(teacher, student)?;
    steps::lerp_(&slow, &fast, 1. - momentum);
    Ok(())
}

/// Makes each of the teacher's tensors equal to the student's: at the start, and for the buffers of
/// a network with batch normalisation whose average is to be evaluated. Errors as in [`follow`].
pub fn copy(teacher: &BTreeMap<String, Tensor>, student: &BTreeMap<String, Tensor>) -> Result<()> {
    let (slow, fast) = pairs(teacher, student)?;
    tch::no_grad(|| {
        for (mut slow, fast) in slow.into_iter().zip(&fast) {
            slow.copy_(fast);
        }
    });
    Ok(())
}

fn pairs(
    teacher: &BTreeMap<String, Tensor>,
    student: &BTreeMap<String, Tensor>,
) -> Result<(Vec<Tensor>, Vec<Tensor>)> {
    let pair = |(name, slow): (&String, &Tensor)| {
        let path = || PathBuf::from("student");
        let fast = student.get(name).ok_or_else(|| Error::MissingTensor {
            path: path(),
            name: name.clone(),
            nearest: None,
        })?;
        if fast.size() != slow.size() {
            let (wanted, found) = (slow.size(), fast.size());
            return Err(Error::WrongShape { path: path(), name: name.clone(), wanted, found });
        }
        Ok((slow.shallow_clone(), fast.shallow_clone()))
    };
    teacher.iter().map(pair).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, values: &[f32]) -> BTreeMap<String, Tensor> {
        BTreeMap::from([(name.to_owned(), Tensor::from_slice(values))])
    }

    fn values(tensors: &BTreeMap<String, Tensor>) -> Vec<f32> {
        Vec::try_from(&tensors["w"]).unwrap()
    }

    #[test]
    fn the_teacher_moves_by_the_remainder_of_the_momentum() {
        let (teacher, student) = (named("w", &[0., 8.]), named("w", &[4., 0.]));
        follow(&teacher, &student, 0.75).unwrap();
        assert_eq!(values(&teacher), [1., 6.]);
        assert_eq!(values(&student), [4., 0.]);
    }

    #[test]
    fn momentum_one_stands_still_and_zero_copies() {
        let (teacher, student) = (named("w", &[0.1, 0.7]), named("w", &[0.3, -0.2]));
        follow(&teacher, &student, 1.).unwrap();
        assert_eq!(values(&teacher), [0.1, 0.7]);
        follow(&teacher, &student, 0.).unwrap();
        assert_eq!(values(&teacher), [0.3, -0.2]);
    }

    #[test]
    fn a_slow_teacher_still_moves() {
        let (teacher, student) = (named("w", &[1.]), named("w", &[1.01]));
        follow(&teacher, &student, 0.9995).unwrap();
        // One unit in the last place of f32 at 1 is 1.2e-7.
        assert!((values(&teacher)[0] - 1.000_005).abs() < 1.2e-7);
    }

    #[test]
    fn copying_takes_integers_too_and_leaves_two_tensors() {
        let teacher = BTreeMap::from([("n".to_owned(), Tensor::from_slice(&[0i64]))]);
        let student = BTreeMap::from([("n".to_owned(), Tensor::from_slice(&[5i64]))]);
        copy(&teacher, &student).unwrap();
        let _ = student["n"].shallow_clone().fill_(6);
        assert_eq!(Vec::<i64>::try_from(&teacher["n"]).unwrap(), [5]);
    }

    #[test]
    fn a_student_without_the_tensor_or_with_another_shape_is_refused() {
        let teacher = named("w", &[0.]);
        let error = follow(&teacher, &named("v", &[0.]), 0.9).unwrap_err();
        assert_eq!(error.to_string(), "student: no tensor named `w`");
        let error = copy(&teacher, &named("w", &[0., 1.])).unwrap_err();
        assert_eq!(error.to_string(), "student: `w` has shape [2], the model wants [1]");
    }
}

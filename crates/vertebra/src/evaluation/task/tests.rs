use tch::Device;

use super::*;

fn table(labels: &[Option<u32>], classes: &[&str]) -> FeatureTable {
    let x = Tensor::arange(labels.len() as i64 * 2, (Kind::Float, Device::Cpu)).view([-1, 2]);
    let classes = classes.iter().map(ToString::to_string).collect();
    FeatureTable::new(x, labels.to_vec(), classes).unwrap()
}

fn refusal(train: &FeatureTable, test: &FeatureTable) -> Error {
    Task::new(train, &[("", test)]).err().unwrap()
}

#[test]
fn unlabelled_rows_are_left_out_and_counted() {
    let train = table(&[Some(0), None, Some(4)], &[]);
    let test = table(&[Some(4), None, None], &[]);
    let task = Task::new(&train, &[("", &test)]).unwrap();
    assert_eq!((task.train.y, task.classes), (vec![0, 1], 2));
    assert_eq!(Vec::<f32>::try_from(task.train.x.select(1, 0)).unwrap(), [0.0, 4.0]);
    assert_eq!(task.tests[0].rows.y, [1]);
    assert_eq!(
        task.tests[0].notes,
        ["1 training samples without labels left out", "2 test samples without labels left out"]
    );
}

#[test]
fn a_table_without_labels_is_refused_with_a_hint() {
    let error = refusal(&table(&[Some(0), Some(1)], &[]), &table(&[None, None], &[]));
    assert!(error.to_string().contains("the test source has no labels (2 samples)"), "{error}");
    assert!(error.hint().unwrap().contains("one sub-folder per class"));
    let error = refusal(&table(&[Some(1), Some(1)], &[]), &table(&[Some(1)], &[]));
    assert!(error.to_string().contains("same label"), "{error}");
}

#[test]
fn classes_are_matched_by_name() {
    let train = table(&[Some(0), Some(1), Some(3)], &["cat", "dog", "emu", "fox"]);
    let test = table(&[Some(0), Some(2), Some(1), Some(1)], &["fox", "newt", "cat"]);
    let task = Task::new(&train, &[("", &test)]).unwrap();
    assert_eq!((task.train.y, task.classes), (vec![0, 1, 2], 3));
    // fox, cat, and newts that nothing was learned of.
    assert_eq!(task.tests[0].rows.y, [2, 0, 4, 4]);
    assert_eq!(task.tests[0].notes, ["2 samples of 1 classes not in training"]);
}

#[test]
fn a_class_of_the_list_without_training_rows_is_not_in_training() {
    let train = table(&[Some(0), Some(1)], &["cat", "dog", "emu"]);
    let test = table(&[Some(0), Some(2)], &["cat", "dog", "emu"]);
    let task = Task::new(&train, &[("", &test)]).unwrap();
    assert_eq!(task.classes, 2);
    assert!(task.tests[0].rows.y[1] >= 2);
}

#[test]
fn sources_without_a_common_class_are_refused() {
    let train = table(&[Some(0), Some(1)], &["cat", "dog"]);
    let error = refusal(&train, &table(&[Some(0)], &["newt"]));
    assert!(error.to_string().contains("newt and cat, dog"), "{error}");
}

#[test]
fn a_shifted_set_of_some_classes_limits_the_answers_and_the_own_test_does_not() {
    let train = table(&[Some(0), Some(1), Some(2)], &["cat", "dog", "emu"]);
    let some = table(&[Some(0), Some(1)], &["emu", "cat"]);
    let one = table(&[Some(0)], &["emu"]);
    let task = Task::new(&train, &[("", &some), ("art", &some), ("one", &one), ("all", &train)]);
    let tests = task.unwrap().tests;
    let answers: Vec<_> = tests.iter().map(|test| test.answers.clone()).collect();
    assert_eq!(answers, [None, Some(vec![true, false, true]), None, None]);
    assert_eq!(tests[1].notes, ["answers limited to its 2 classes"]);
    assert!(tests[3].is_train && !tests[0].is_train);
}

#[test]
fn rows_that_are_not_finite_are_counted_and_refused() {
    let whole = table(&[Some(0), Some(1), Some(1)], &[]);
    let broken = table(&[Some(0), Some(1), Some(1)], &[]);
    for (row, value) in [(0, f64::NAN), (2, f64::INFINITY)] {
        let _ = broken.x.get(row).get(1).fill_(value);
    }
    let error = refusal(&whole, &broken);
    assert!(error.to_string().contains("2 of the 3 test rows hold features"), "{error}");
    let error = refusal(&broken, &whole);
    assert!(error.to_string().contains("2 of the 3 training rows"), "{error}");
}

#[test]
fn tables_of_other_widths_and_no_test_are_refused() {
    let train = table(&[Some(0), Some(1)], &[]);
    let wide = FeatureTable::new(train.x.view([1, 4]), vec![Some(0)], Vec::new()).unwrap();
    let error = refusal(&train, &wide);
    assert!(error.to_string().contains("2 wide and the test features 4"), "{error}");
    assert!(Task::new(&train, &[]).is_err());
    assert!(FeatureTable::new(train.x.shallow_clone(), vec![None], Vec::new()).is_err());
}

//! Subtasks in a native test: they are called in this program.

use sortie_guest::subtasks::CALLS_MAX;
use sortie_guest::{Failure, TaskGroup};

#[sortie_guest::function]
fn twice(value: i64) -> i64 {
    value * 2
}

#[sortie_guest::function]
fn fails(code: String) -> Result<i64, Failure> {
    Err(Failure::new(code, "as asked"))
}

#[test]
fn results_come_in_the_order_of_the_calls_whatever_is_collected() {
    let mut group = TaskGroup::new();
    let count = i64::try_from(CALLS_MAX).unwrap() * 2 + 5;
    for value in 0..count {
        assert_eq!(
            group.spawn("twice", (value,)),
            Ok(usize::try_from(value).unwrap())
        );
    }
    let results = group.join::<i64>().unwrap();
    assert!(results.into_iter().eq((0..count).map(|value| value * 2)));
}

#[test]
fn a_failure_keeps_its_code() {
    let mut group = TaskGroup::new();
    group.spawn("fails", ("odd",)).unwrap();
    group.spawn("twice", (1,)).unwrap();
    let error = group.result::<i64>(0).unwrap_err();
    assert_eq!(error.to_string(), "odd: as asked");
    assert_eq!(Failure::from(error).code(), "odd");
    assert_eq!(group.result(1), Ok(2));
    assert_eq!(group.next_ended(), Ok(Some(0)));
    assert_eq!(group.next_ended(), Ok(Some(1)));
    assert_eq!(group.next_ended(), Ok(None));
}

#[test]
fn a_call_that_cannot_be_made_is_named() {
    let mut group = TaskGroup::new();
    group.spawn("thrice", (1,)).unwrap();
    let error = group.wait_all().unwrap_err();
    assert_eq!(
        error.to_string(),
        "bad-call: this component has no function `thrice`"
    );
    group.spawn("twice", (1, 2)).unwrap();
    let error = group.wait_all().unwrap_err();
    assert_eq!(
        error.to_string(),
        "bad-call: `twice` takes 1 arguments, but got 2"
    );
    assert_eq!(group.result::<i64>(7).unwrap_err().code(), "bad-call");
}

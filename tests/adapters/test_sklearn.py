"""The scikit-learn door: a classifier that learns a task with each `partial_fit`."""

import copy
import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

import hypermnesia as hm

QUICK = ("train.iterations=60", "train.threads=1", "optimizer.lr=0.01", "net.hidden=[30]")


def digits():
    x, y = load_digits(return_X_y=True)
    return x[:1200], y[:1200], x[1200:], y[1200:]


APART = {
    "check_methods_sample_order_invariance": "float32 products round by a row's place in the batch; asked is 1e-7",
}
CHECKED = hm.ContinualClassifier("er", ["train.iterations=25", "train.threads=1", "optimizer.lr=0.03"])


@pytest.mark.parametrize(
    ("estimator", "check"),
    [
        pytest.param(estimator, check, id=getattr(check, "func", check).__name__)
        for estimator, check in estimator_checks_generator(CHECKED, expected_failed_checks=APART, mark="skip")
    ],
)
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


def test_classes_come_one_task_after_the_other():
    x, y, test_x, test_y = digits()
    learner = hm.ContinualClassifier("er", [*QUICK, "memory.size=300"])
    for task in ([7, 3], [0, 1, 8], [3, 9]):
        rows = np.isin(y, task)
        learner.partial_fit(x[rows], y[rows])
    assert learner.classes_.tolist() == [0, 1, 3, 7, 8, 9]
    assert learner.n_tasks_ == 3
    rows = np.isin(test_y, learner.classes_)
    assert learner.score(test_x[rows], test_y[rows]) > 0.85
    shares = learner.predict_proba(test_x[rows])
    assert np.allclose(shares.sum(1), 1)
    assert (learner.classes_[shares.argmax(1)] == learner.predict(test_x[rows])).all()


def test_names_and_a_pipeline():
    frame = load_iris(as_frame=True)
    names = np.array(["setosa", "versicolor", "virginica"])[frame.target]
    pipe = make_pipeline(StandardScaler(), hm.ContinualClassifier("ewc", QUICK, standardise=False))
    pipe.fit(frame.data, names)
    assert pipe.score(frame.data, names) > 0.9
    assert set(pipe.predict(frame.data[:2])) == {"setosa"}


def test_sums_in_closed_form_do_not_depend_on_how_data_come():
    x, y, test_x, _ = digits()
    whole = hm.ContinualClassifier("slda", QUICK, standardise=False).fit(x, y)
    pieces = hm.ContinualClassifier("slda", QUICK, standardise=False)
    for label in range(10):
        pieces.partial_fit(x[y == label], y[y == label])
    assert (whole.predict(test_x) == pieces.predict(test_x)).all()


def test_a_hypernetwork_infers_the_task():
    x, y, test_x, test_y = digits()
    learner = hm.ContinualClassifier("hnet", [*QUICK, "generator.hidden=[20]", "generator.chunk=200"])
    for task in ([0, 1], [2, 3]):
        learner.partial_fit(x[np.isin(y, task)], y[np.isin(y, task)])
    rows = np.isin(test_y, [0, 1, 2, 3])
    assert learner.score(test_x[rows], test_y[rows]) > 0.4
    with pytest.raises(
        hm.HypermnesiaError, match="the new task has 3 classes, and the networks .* have 2 outputs"
    ):
        learner.partial_fit(x[y > 6], y[y > 6])


def test_copies_go_on_alike():
    x, y, test_x, _ = digits()
    learner = hm.ContinualClassifier("derpp", QUICK).fit(x[y < 2], y[y < 2])
    others = [copy.deepcopy(learner), pickle.loads(pickle.dumps(learner))]
    for one in (learner, *others):
        one.partial_fit(x[y == 5], y[y == 5])
    for other in others:
        assert (other.predict_proba(test_x) == learner.predict_proba(test_x)).all()
    assert not hasattr(clone(learner), "classes_")


def test_errors_say_what_to_do():
    x, y, _, _ = digits()
    with pytest.raises(ValueError, match="y has the class .*9.*, which is not among `classes`"):
        hm.ContinualClassifier("er", QUICK).partial_fit(x, y, classes=range(9))
    with pytest.raises(hm.HypermnesiaError, match="joint learns all tasks at once and none later"):
        hm.ContinualClassifier("joint", QUICK).fit(x, y)
    with pytest.raises(hm.HypermnesiaError, match=r"stream\.\* has no meaning for arrays"):
        hm.ContinualClassifier("er", [*QUICK, "stream.tasks=5"]).fit(x, y)

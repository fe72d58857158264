import copy
import pickle

import pytest

from tigon.base import TensorType, as_dtype
from tigon.base.frozen import MISSING, Frozen, fields, replace


class Window(Frozen):
    size: int
    step: int = 1


class PaddedWindow(Window):
    padding: int = 0


class Named(Frozen, kw_only=True):
    first: int = 1
    second: int


class Identical(Frozen, eq=False):
    size: int = 3


def test_equal_records_hash_alike_and_classes_differ():
    assert Window(3) == Window(size=3, step=1) != Window(3, 2)
    assert hash(Window(3)) == hash(Window(3, 1))
    assert PaddedWindow(3) != Window(3)
    assert Identical() != Identical() and len({Identical(), Identical()}) == 2


def test_fields_are_in_order_with_those_of_the_base_first():
    assert fields(PaddedWindow) == {"size": MISSING, "step": 1, "padding": 0}
    assert vars(PaddedWindow(padding=1, size=2)) == {"size": 2, "step": 1, "padding": 1}
    assert list(vars(PaddedWindow(padding=1, size=2))) == ["size", "step", "padding"]
    assert repr(PaddedWindow(2)) == "PaddedWindow(size=2, step=1, padding=0)"


def test_fields_given_by_name_may_be_required_after_optional_ones():
    assert Named(second=2).first == 1
    with pytest.raises(TypeError, match="Named: expected at most 0 values without a name; given 1"):
        Named(1, second=2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Window(), "Window: must be given: size"),
        (lambda: Window(step=2), "Window: must be given: size"),
        (lambda: Window(3, stride=2), "Window: has no field: stride"),
        (lambda: Window(3, size=3), "Window: is given twice: size"),
        (lambda: Window(3, 1, 2), "Window: expected at most 2 values without a name; given 3"),
        (lambda: replace(Window(3), stride=2), "Window: has no field: stride"),
    ],
)
def test_wrong_fields_are_named(make, message):
    with pytest.raises(TypeError) as caught:
        make()
    assert str(caught.value) == message


def test_records_do_not_change():
    window = Window(3)
    with pytest.raises(AttributeError, match="'step' cannot be set"):
        window.step = 2
    with pytest.raises(AttributeError, match="'step' cannot be deleted"):
        del window.step
    assert replace(window, step=2) == Window(3, 2) and window == Window(3)


@pytest.mark.parametrize("record", [PaddedWindow(3), TensorType((2, 3), as_dtype("float32"))])
def test_records_are_copied_and_pickled(record):
    assert pickle.loads(pickle.dumps(record)) == record
    assert copy.deepcopy(record) == record == copy.copy(record)


def test_tensor_types_do_not_change():
    with pytest.raises(AttributeError, match="'shape' cannot be set"):
        TensorType((2,), as_dtype("float32")).shape = (3,)
    assert pickle.loads(pickle.dumps(as_dtype("float32"))) is as_dtype("float32")

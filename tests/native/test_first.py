import numpy as np
from tigon import _native
from tests.native.conftest import array

def test_add(operators):
    a = array(np.arange(10)); b = array(np.ones(10))
    assert ((a + b).asnumpy() == np.arange(10) + 1).all()
    assert ((a + 2).asnumpy() == np.arange(10) + 2).all()
    assert ((3 - a).asnumpy() == 3 - np.arange(10)).all()
    assert ((np.float32(3) - a).asnumpy() == 3 - np.arange(10)).all()
    a += b
    assert (a.asnumpy() == np.arange(10) + 1).all()
    x = array(np.arange(10)); x.mark_variable(_native.empty((10,), 0), "write")
    _native.set_recording(True)
    y = x * x + x
    _native.set_recording(False)
    _native.backward([y], [], False)
    assert (x.grad.asnumpy() == 2 * np.arange(10) + 1).all()

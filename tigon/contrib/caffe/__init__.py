"""Programs and models of Caffe: networks and solvers from prototxt, arrays from caffemodel.

`load_net` gives a network as a block, `load_solver` a training as its file describes it,
`convert_model` what MXNet's `caffe_converter` gave. See docs/caffe.md.
"""

from tigon.contrib.caffe.net import CaffeNet, convert_model, load_net
from tigon.contrib.caffe.rates import CaffeRate
from tigon.contrib.caffe.solver import History, Solver, load_solver

__all__ = [
    "CaffeNet",
    "CaffeRate",
    "History",
    "Solver",
    "convert_model",
    "load_net",
    "load_solver",
]

"""What this installation can do, under MXNet's names."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Any

from tigon.context import num_gpus

_NAMES = """CUDA CUDNN NCCL CUDA_RTC TENSORRT CPU_SSE CPU_SSE2 CPU_SSE3 CPU_SSE4_1 CPU_SSE4_2
CPU_SSE4A CPU_AVX CPU_AVX2 OPENMP SSE F16C JEMALLOC BLAS_OPEN BLAS_ATLAS BLAS_MKL BLAS_APPLE LAPACK
MKLDNN OPENCV CAFFE PROFILER DIST_KVSTORE CXX14 INT64_TENSOR_SIZE SIGNAL_HANDLER DEBUG
TVM_OP""".split()

_OF_PROCESSORS = {
    "CPU_SSE": "sse",
    "CPU_SSE2": "sse2",
    "CPU_SSE3": "sse3",
    "CPU_SSE4_1": "sse4.1",
    "CPU_SSE4_2": "sse4.2",
    "CPU_SSE4A": "sse4a",
    "CPU_AVX": "avx",
    "CPU_AVX2": "avx2",
    "SSE": "sse",
    "F16C": "f16c",
}
"""What LLVM calls what a processor has. Code is compiled for all of it."""


class Feature:
    """A name, and whether it is there."""

    def __init__(self, name: str, enabled: bool) -> None:
        self.name = name
        self.enabled = enabled

    def __repr__(self) -> str:
        return f"{'✔' if self.enabled else '✖'} {self.name}"


def _is_there(name: str) -> bool:
    if name in _OF_PROCESSORS:
        from llvmlite.binding import get_host_cpu_features

        return bool(get_host_cpu_features().get(_OF_PROCESSORS[name], False))
    if name == "CUDA":
        return num_gpus() > 0
    if name == "LAPACK":
        return find_spec("scipy") is not None
    return name in ("CXX14", "INT64_TENSOR_SIZE")


class Features(dict[str, Feature]):
    """All features by name.

    >>> features = Features()
    >>> features.is_enabled("int64_tensor_size"), features["CUDA"].enabled
    (True, False)
    >>> features.is_enabled("teleport")
    Traceback (most recent call last):
    ...
    RuntimeError: Features: 'TELEPORT' is not known; known are CUDA, CUDNN, NCCL, ...
    """

    def __init__(self) -> None:
        super().__init__({name: Feature(name, _is_there(name)) for name in _NAMES})

    def __repr__(self) -> str:
        return str(list(self.values()))

    def is_enabled(self, feature_name: str) -> bool:
        """Whether a feature is there. Raises RuntimeError where no feature has the name."""
        name = feature_name.upper()
        if name not in self:
            raise RuntimeError(f"Features: {name!r} is not known; known are {', '.join(self)}")
        return self[name].enabled


def feature_list() -> list[Feature]:
    """All features.

    >>> [feature.name for feature in feature_list()][:2]
    ['CUDA', 'CUDNN']
    """
    return list(Features().values())


__all__: list[Any] = ["Feature", "Features", "feature_list"]

import gc

import pytest

from tigon.base import TensorType, TigonError, as_dtype
from tigon.base.collector import collector_paused
from tigon.ir import Graph, variable
from tigon.ops import get
from tigon.passes import pipeline
from tigon.program.compile import compile_graph


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.usefixtures("nothing_stored")
def test_compiling_pauses_the_collector_and_leaves_the_users_setting(enabled, monkeypatch):
    during = []
    run = pipeline.run

    def watched(*arguments, **options):
        during.append(gc.isenabled())
        return run(*arguments, **options)

    monkeypatch.setattr(pipeline, "run", watched)
    x = variable("x", TensorType((3, 5), as_dtype("float32")))
    setting = gc.isenabled()
    try:
        (gc.enable if enabled else gc.disable)()
        compile_graph(Graph([x], [get("softmax")(x)]))
        assert gc.isenabled() == enabled
    finally:
        (gc.enable if setting else gc.disable)()
    assert during and not any(during)


def test_an_error_starts_the_collector_again():
    with pytest.raises(TigonError), collector_paused():
        raise TigonError("anything")
    assert gc.isenabled()

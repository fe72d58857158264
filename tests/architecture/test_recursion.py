"""No walk is as deep as the user's program: functions that call themselves are listed here, with
what bounds them. Whatever else has to recurse goes through `tigon.base.recursion.descend`."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "tigon"

RANK = "the loops of a nest: the axes of arrays, 32 at most, and a few stages"
LOOPS = "the nesting of loops"
ONCE = "one level: the inner call takes the other branch"
BOUNDED = {
    "base.arguments.fits": "the nesting of a declared type",
    "gluon.graphs.Entry._run_code": "once more, when numbers are read at once",
    "sym.traced._settled": "the depth of an index: a tuple of slices",
    "contrib.onnx.graph.Reader._called Reader._convert Reader._of_operator "
    "Reader._results": "checked: DEEPEST",
    "contrib.onnx.writing.model.Writer._atom Writer._term "
    "Writer.scalar": "divisions within divisions",
    "autograd._heads grad": "not recursive: a flag of the same name",
    "backends.llvm.objects.Compiler._has_helper Compiler._load Compiler._stored "
    "Compiler.find": "a library is loaded once at a time",
    "backends.llvm.objects.Compiler._new_helpers": "helpers that our own helpers call",
    "backends.cpu.backend.CpuBackend.emit": "not recursive: the generator's",
    "base.extents.as_plain": "divisions within divisions, as loops are blocked",
    "base.extents.value_of_plain": "divisions within divisions, as loops are blocked",
    "backends.cpu.contraction._Contraction.list_places.places "
    "_Contraction.list_places.places.offset": RANK,
    "backends.cpu.strided._Strided.list_steps.places _Strided.list_steps.places.step": RANK,
    "backends.cpu.cost._Estimate.body": RANK,
    "backends.cpu.cost._arithmetic": RANK,
    "backends.cpu.cost.longest": RANK,
    "backends.cpu.cost.stored_bytes": RANK,
    "backends.llvm.emitter.Emitter._compute Emitter._emit Emitter._guard_value Emitter.emit": "the "
    "conditions of a guard, each found where it was computed as an operand",
    "backends.llvm.emitter.Emitter._level Emitter.level": ONCE,
    "backends.cpu.nest.Body.loops Body.loops.run Body.nested Body.scan Body.scan.run "
    "Body.statements": RANK,
    "backends.cpu.nest.Body.over Body.over.deeper Body.over.run": RANK,
    "backends.cpu.nest._values": RANK,
    "backends.store._marked": "once more, for the folder of our own",
    "backends.cpu.packing._Packer.pack_right_sliding.remainders "
    "_Packer.pack_right_sliding.remainders.remainder": RANK,
    "ops.tensor.product._leaving_out": ONCE,
    "optimizer.optimizer._plain": "three levels: what lies deeper is told apart by its identity",
    "gluon.data.dataloader._as_in_context": "the nesting of a batch",
    "gluon.data.loading._stacked": "checked: _DEEPEST_SAMPLE",
    "gluon.structure.rebuild_outputs": "a view is made of an argument or a parameter",
    "gluon.function.jit": ONCE,
    "gluon.rnn.recurrent_cell.RecurrentCell.reset": "cells within cells, as deep as calls of them",
    "rnn.base_cell.BaseRNNCell.reset": "cells within cells, as deep as calls of them",
    "gluon.trace.records.Records._class": "classes of classes",
    "gluon.trace.records.Records.read Records.read_module Records.read_whole "
    "Records.take_everything": "a mark: everything is taken once",
    "gluon.trace.trace.Trace.concrete": ONCE,
    "gluon.trace.values._equal_states": "what generators of random numbers give",
    "initializer.create": ONCE,
    "ir.graph._exact": "attributes, nested once",
    "ir.graph._is_open": "attributes, nested once",
    "ir.text._parse_statement parse": "the nesting of loops; caught where it is read from a file",
    "ir.text._show_attrs show": LOOPS,
    "ops.control_structure._rebuilt": "checked: DEEPEST",
    "ops.control_structure._shape_of": "checked: DEEPEST",
    "ir.text._literal": "what Python has parsed; caught where it is too deep",
    "sym.inference._fill_from_graphs _fill_operands _match_operands _sweep infer": LOOPS,
    "gluon.model_zoo.vision.inception._part _sequence _side_by_side": "the table of modules",
    "loop.fingerprint.fingerprint.text": RANK,
    "loop.grammar._text": "counted: 12",
    "backends.cpu.cost._last_positions": RANK,
    "loop.clip._body": RANK,
    "loop.interpret._Run._body _Run._loop _Run._scan": RANK,
    "loop.map.Mapper.body Mapper.statement": RANK,
    "loop.show._body": RANK,
    "loop.verify._Check._body _Check._scan": RANK,
    "lower.body._accesses.visit": RANK,
    "metric.create": "checked: lists of metrics have at most 16 levels",
    "ops.attributes._as_option _coerce": "the declared type",
    "sym.symbol.enter": "a captured array's symbol enters at once",
    "passes.lay_out_images._Layout.in_memory _Layout.within": ONCE,
    "passes.insert_casts._in_loop insert_casts insert_casts.rule": LOOPS,
    "passes.insert_casts.remove_casts remove_casts.rule": LOOPS,
    "passes.decompose._Expansion._template _Expansion.rule": "composites made of composites",
    "passes.gradient._pull_back _pull_back_alike _pull_back_anew _pull_back_by_value _walk "
    "_within": ("composites made of composites, loops within loops"),
    "passes.widen_floats._primitives": "composites made of composites",
    "backends.llvm.scalar._before_narrowing _cast": "by way of float32, and to it of float64",
    "passes.set_mode.in_prediction in_prediction.rule": LOOPS,
    "passes.set_mode.set_mode set_mode.rule": LOOPS,
    "ir.recast.recast recast.rule": LOOPS,
    "passes.thread_keys._within thread_keys thread_keys.rule": LOOPS,
    "program.lowered._native_of_stored": LOOPS,
    "standalone.programs._control_place _launch_row write_program": LOOPS,
    "standalone.programs.read_program read_program.launch": LOOPS,
    "standalone.tables.Tables.formula": "divisions within divisions, as loops are blocked",
    "program.stored._fields": LOOPS,
    "program.stored._program": "caught: what is nested deeper is none of ours",
}
"""By module and the functions of one circle: why it ends soon, whatever the user's program."""

Name = tuple[str, ...]


def functions(tree: ast.Module) -> Iterator[tuple[Name, Name, ast.AST]]:
    """(path, path of the class or (), function) for every function, inner ones included."""
    stack: list[tuple[ast.AST, Name, Name]] = [(tree, (), ())]
    while stack:
        node, path, owner = stack.pop()
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef):
                inner = (*path, child.name)
                yield inner, owner, child
                stack.append((child, inner, owner))
            elif isinstance(child, ast.ClassDef):
                stack.append((child, (*path, child.name), (*path, child.name)))
            else:
                stack.append((child, path, owner))


def mentioned(function: ast.AST) -> Iterator[ast.Name | ast.Attribute]:
    """Names and attributes in a function's own code. What `descend` is given is not called here."""
    stack = list(ast.iter_child_nodes(function))
    while stack:
        node = stack.pop()
        if isinstance(node, (ast.Name, ast.Attribute)):
            yield node
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "descend":
            stack.extend(node.args[:2])
        elif not isinstance(node, ast.FunctionDef):
            stack.extend(ast.iter_child_nodes(node))


METHODS = frozenset(
    "apply cast collect_params explain hybridize initialize summary update reset get bounds linear"
    " visit walk run body expand emit formula at read text show __repr__ __hash__ __eq__"
    " __deepcopy__ __reduce__ __del__".split()
)
"""Of another object these names are taken for the method they stand in: trees call such."""

ONE_OF_A_KIND = {
    "gluon.parameter.dictionary.ParameterDict.initialize": "a parameter's",
    "gluon.parameter.dictionary.ParameterDict.update": "the dictionary inside",
    "gluon.block.block.Block.apply": "only where a class has its own",
    "gluon.block.block.Block.initialize": "that of the parameters",
    "gluon.graphs.GraphCache.run": "that of an entry",
    "gluon.train_step._StepEntry.run": "that of a graph",
    "gluon.block.block.Block.cast": "only where a class has its own",
    "gluon.block.block.Block.hybridize": "only where a class has its own",
    "gluon.block.hybrid.HybridBlock.explain": "the cache's",
    "gluon.function.CompiledFunction.explain": "the cache's",
    "gluon.train_step.TrainStep.explain": "the cache's",
    "contrib.cxxnet.iterators.Centred.reset": "that of the iterator of a file",
    "io.around.PrefetchingIter.reset": "that of its loaders",
    "io.around.ResizeIter.reset": "iterators that the user has put into each other by hand",
    "image.iterator.ImageSource.read": "that of a file",
    "name.NameManager.get": "that of a dictionary",
    "metric.CompositeEvalMetric.reset": "metrics that the user has put into each other by hand",
    "metric.CompositeEvalMetric.update": "metrics that the user has put into each other by hand",
    "module.bucketing_module.BucketingModule.update": "that of the present bucket",
    "module.sequential_module.SequentialModule.update": "those of the modules that were added",
}
"""Methods that call one of the same name, of an object of another kind or of a bounded number."""


def circles() -> set[str]:
    """The functions of each module that call themselves or each other, by name."""
    found: set[str] = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        known = {
            name: (owner, node) for name, owner, node in functions(ast.parse(path.read_text()))
        }
        calls: dict[Name, set[Name]] = defaultdict(set)
        for name, (owner, node) in known.items():
            for part in mentioned(node):
                if isinstance(part, ast.Name):
                    scopes = [(*name[:k], part.id) for k in range(len(name), -1, -1)]
                    calls[name].update(
                        s for s in scopes if s in known and (len(s) == 1 or known[s][0] != s[:-1])
                    )
                elif isinstance(part.value, ast.Name) and part.value.id in ("self", "cls"):
                    calls[name].update({(*owner, part.attr)} & known.keys())
                elif part.attr == name[-1] and owner and part.attr in METHODS:
                    is_super = isinstance(part.value, ast.Call) and "super" in ast.dump(part.value)
                    calls[name].update(() if is_super else {name})
        reached = {name: _reached(name, calls) for name in known}
        for name in known:
            circle = {other for other in reached[name] if name in reached[other]}
            if circle:
                found.add(f"{module}." + " ".join(sorted(".".join(n) for n in circle)))
    return found


def _reached(name: Name, calls: dict[Name, set[Name]]) -> set[Name]:
    seen: set[Name] = set()
    stack = [name]
    while stack:
        new = calls[stack.pop()] - seen
        seen |= new
        stack.extend(new)
    return seen


def test_recursion_is_declared_with_its_bound() -> None:
    declared = BOUNDED.keys() | ONE_OF_A_KIND.keys()
    assert circles() - declared == set(), "walk iteratively, use descend, or say what bounds it"
    assert declared - circles() == set(), "no longer recursive: leave it out of the list"

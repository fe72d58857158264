"""What a configuration says: nodes and layers, settings of the whole, sections of iterators."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from tigon.base.frozen import Frozen
from tigon.contrib.cxxnet.text import Place, Setting, settings_of

MOST_INPUTS = 1000
_SECTIONS = ("data", "eval", "pred")
_STEP = re.compile(r"layer\[\+([0-9]{1,9})(?::([^\]\[]*))?\]?")
_ARROW = re.compile(r"layer\[([^\]\[]*?)->([^\]\[]*)\]?")


class Layer(Frozen, kw_only=True):
    """A layer as it is written."""

    number: int
    kind: str
    name: str
    """The name after the colon, or one of its kind and number."""
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    """Numbers of nodes."""
    primary: int | None = None
    """The layer whose parameters it shares."""
    line: int


class Section(Frozen, kw_only=True):
    """The iterator of a section `data`, `eval` or `pred`."""

    kind: str
    name: str
    chain: tuple[str, ...]
    """The iterators, from the one that reads to the one that gives batches."""
    settings: tuple[Setting, ...]
    line: int


class Configuration:
    """A configuration, read but not yet a network.

    Parameters
    ----------
    content : the text, or its bytes
    where : what errors call it
    given : further settings of the whole, which count last, as on cxxnet's command line
    """

    def __init__(
        self, content: str | bytes, where: str, given: Mapping[str, object] | None = None
    ) -> None:
        self.place = Place(where)
        self.settings: list[Setting] = []
        """Of the whole, in their order."""
        self.layers: list[Layer] = []
        self.sections: list[Section] = []
        self.node_names = ["in"]
        self._own: list[list[Setting]] = []
        self._nodes = {"in": 0, "0": 0}
        self._named: dict[str, int] = {}
        self._top: int | None = 0
        self._read(settings_of(content, self.place))
        self.settings += [Setting(name, str(value)) for name, value in (given or {}).items()]

    # -- questions

    def own(self, layer: Layer) -> Sequence[Setting]:
        """What stands below a layer."""
        return self._own[layer.number]

    def last(self, name: str) -> Setting | None:
        """What is set last for the whole under this name."""
        found = None
        for setting in self.settings:
            if setting.name == name:
                found = setting
        return found

    # -- reading

    def _read(self, settings: Sequence[Setting]) -> None:
        section: list[Setting] | None = None
        begin: Setting | None = None  # of the network that is described
        for setting in settings:
            name, value, line = setting
            if section is None and name in _SECTIONS and begin is None:
                section = [setting]
            elif section is not None:
                if (name, value) == ("iter", "end"):
                    self.sections.append(self._section(section))
                    section = None
                else:
                    section.append(setting)
            elif name == "netconfig":
                self.place.choice(setting, {"start": "", "end": ""})
                begin = setting if value == "start" else None
            elif name.startswith("layer["):
                if begin is None:
                    raise self.place.fail(line, "expected layers behind netconfig = start")
                self._add_layer(setting)
            elif begin is not None and self.layers:
                self._set_of_layer(setting)
            else:
                self.settings.append(setting)
        if section is not None:
            raise self.place.fail(section[0].line, "the section has no end; expected iter = end")
        if begin is not None:
            raise self.place.fail(begin.line, "the network has no end; expected netconfig = end")

    def _set_of_layer(self, setting: Setting) -> None:
        if self.layers[-1].primary is not None:
            raise self.place.fail(
                setting.line,
                f"{setting.name}: a layer that shares has the settings of the one it shares with; "
                "set it there",
            )
        self._own[-1].append(setting)

    def _section(self, found: list[Setting]) -> Section:
        head, *rest = found
        chain = tuple(setting.value for setting in rest if setting.name == "iter")
        if not chain:
            raise self.place.fail(head.line, f"{head.name} = {head.value:.80}: expected iter = ...")
        settings = tuple(setting for setting in rest if setting.name != "iter")
        name = head.value
        return Section(kind=head.name, name=name, chain=chain, settings=settings, line=head.line)

    def _add_layer(self, setting: Setting) -> None:
        kind, colon, name = setting.value.partition(":")
        number, primary = len(self.layers), None
        shared = re.fullmatch(r"share\[([^\]]*)\]?", kind)
        if shared or kind == "share":
            tag = shared.group(1) if shared else ""
            if tag not in self._named:
                raise self.place.fail(
                    setting.line,
                    f"share[{tag:.80}]: expected the name of a layer above it; there are "
                    f"{_listed(self._named)}",
                )
            primary = self._named[tag]
            kind = self.layers[primary].kind
        elif colon:
            if name in self._named:
                raise self.place.fail(
                    setting.line,
                    f"the name {name!r:.80} is that of a layer above; write share[{name:.80}] to "
                    "share its parameters, or choose another one",
                )
            self._named[name] = number
        inputs, outputs = self._connections(setting)
        self.layers.append(
            Layer(
                number=number,
                kind=kind,
                name=name or f"{kind}{number}",
                inputs=inputs,
                outputs=outputs,
                primary=primary,
                line=setting.line,
            )
        )
        self._own.append([])
        self._top = outputs[0] if len(outputs) == 1 else None

    def _connections(self, setting: Setting) -> tuple[tuple[int, ...], tuple[int, ...]]:
        step, arrow = _STEP.fullmatch(setting.name), _ARROW.fullmatch(setting.name)
        if step:
            if self._top is None:
                raise self.place.fail(
                    setting.line,
                    f"{setting.name:.80}: the layer before has several outputs; write "
                    "layer[from->to]",
                )
            if int(step.group(1)) == 0:
                return (self._top,), (self._top,)
            name = step.group(2) or f"!node-after-{self._top}"
            top = self._top
            return (top,), (self._node(name, setting, new=True),)
        if not arrow:
            raise self.place.fail(
                setting.line,
                f"{setting.name!r:.80}: expected layer[0->1], layer[a,b->c], layer[+1], "
                "layer[+1:name] or layer[+0]",
            )
        ends = []
        for text, new in zip(arrow.groups(), (False, True), strict=True):
            names = [name for name in text.split(",") if name]
            if not 0 < len(names) <= MOST_INPUTS:
                raise self.place.fail(
                    setting.line, f"{setting.name!r:.80}: expected 1 to {MOST_INPUTS} nodes"
                )
            ends.append(tuple(self._node(name, setting, new) for name in names))
        return ends[0], ends[1]

    def _node(self, name: str, setting: Setting, new: bool) -> int:
        if name not in self._nodes:
            if not new:
                raise self.place.fail(
                    setting.line,
                    f"node {name!r:.80} is not known yet; expected the output of a layer above",
                )
            self._nodes[name] = len(self.node_names)
            self.node_names.append(name)
        return self._nodes[name]

    def node_of(self, name: str, line: int) -> int:
        """The number of a node, by name."""
        if name not in self._nodes:
            known = _listed(self._nodes)
            raise self.place.fail(line, f"node {name!r:.80} is not known; there are {known}")
        return self._nodes[name]


def _listed(names: Iterable[str], most: int = 8) -> str:
    known = list(names)
    more = f" and {len(known) - most} more" if len(known) > most else ""
    return (", ".join(f"{name!r:.40}" for name in known[:most]) or "none") + more

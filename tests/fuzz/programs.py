"""Random programs of arrays, as source text from a seed.

A program is a module: state of many kinds, a network (or a function) whose code reads it through
many constructs of Python, and `session(do)`, which calls the network and changes some state between
the calls. `do` (`program_runs.Session`) runs it imperatively or compiled; the text is the same, and
everything that can differ is in it, so that a failing program can be printed, shrunk and run again.

The vocabulary is tables of templates. In them `$n` is the number of this use, `$v` a new constant,
`$e` an expression for a number (read from some state), `$x` one for an array of the shape of `x`,
`$self` what holds the state where the code runs, `$net` the same seen from the session, `$block`
some statements.

What is allowed to differ is not generated: plain prints while tracing, and state that is changed by
a call that raises.
"""

from __future__ import annotations

import random
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

HEADER = """\
import argparse, collections, contextlib, dataclasses, enum, functools, itertools, math, operator
import os, random, sys, types
import numpy as np
import tigon as mx
from tigon import autograd, gluon, nd
from tigon.gluon import nn
"""

CONSTANTS = ("1", "2", "3", "0.5", "1.5", "2.5", "-1", "4", "0.25")


@dataclass(frozen=True)
class Feature:
    """Some state, and how code reads it as a number; or a statement of a forward."""

    name: str
    code: str
    """Expression or statements."""
    module: str = ""
    """What it needs at the level of the module."""
    member: str = ""
    """The same in the class of what holds the state."""
    init: str = ""
    """The same in its `__init__`."""
    changes: Sequence[str] = ()
    """Statements of the session, each of which changes the state."""
    seen: str = ""
    """What the session looks at after the calls."""
    weight: float = 1.0
    blocks_only: bool = False
    """Whether it needs a block around it, with parameters and children."""
    unrecorded: bool = False
    """Whether it is an error while recording."""


_CONFIG = """\
class Config$n:
    extra_class_attribute = $v
    def __init__(self, **values):
        self.__dict__.update(values)
"""

STATES = [
    Feature(
        "own attribute",
        "$self.a$n",
        init="$self.a$n = $v",
        changes=["$net.a$n = $v", "setattr($net, 'a$n', $v)", "$net.a$n += 1"],
        weight=3,
    ),
    Feature("constant", "$v", weight=1),
    Feature(
        "missing attribute",
        "getattr($self, 'missing$n', $v)",
        changes=["$net.missing$n = $v", "$net.__dict__.pop('missing$n', None)"],
    ),
    Feature(
        "asked attribute",
        "($v if hasattr($self, 'asked$n') else $v)",
        changes=["$net.asked$n = $v", "$net.__dict__.pop('asked$n', None)"],
    ),
    Feature(
        "missing attribute, caught",
        "$self.caught$n()",
        member="""
            def caught$n(self):
                try:
                    return self.nowhere$n
                except AttributeError:
                    return $v
        """,
        changes=["$net.nowhere$n = $v", "$net.__dict__.pop('nowhere$n', None)"],
    ),
    Feature(
        "nested configuration",
        "$self.c$n.inner.k",
        module=_CONFIG,
        init="$self.c$n = Config$n(inner=Config$n(k=$v), other=$v)",
        changes=[
            "$net.c$n.inner.k = $v",
            "$net.c$n.inner = Config$n(k=$v)",
            "$net.c$n = Config$n(inner=Config$n(k=$v))",
            "$net.c$n.unrelated = $v",
            "del $net.c$n.inner.k; $net.c$n.inner.k = $v",
        ],
        weight=2,
    ),
    Feature(
        "vars of a configuration",
        "sum(v for v in vars($self.w$n).values())",
        module=_CONFIG,
        init="$self.w$n = Config$n(k=$v)",
        changes=["$net.w$n.k = $v", "$net.w$n.more = $v", "$net.w$n.__dict__['k'] = $v"],
    ),
    Feature(
        "__dict__ of self",
        "$self.__dict__['b$n']",
        init="$self.b$n = $v",
        changes=["$net.b$n = $v", "$net.__dict__['b$n'] = $v"],
    ),
    Feature(
        "computed getattr",
        "getattr($self, '_'.join(['part', '$n']))",
        init="$self.part_$n = $v",
        changes=["$net.part_$n = $v"],
    ),
    Feature(
        "attrgetter",
        "operator.attrgetter('inner.k')($self.g$n)",
        module=_CONFIG,
        init="$self.g$n = Config$n(inner=Config$n(k=$v))",
        changes=["$net.g$n.inner.k = $v", "$net.g$n.inner = Config$n(k=$v)"],
    ),
    Feature(
        "slots",
        "$self.s$n.k",
        module="""
            class Slots$n:
                __slots__ = ('k', 'other')
                def __init__(self, k):
                    self.k = k
        """,
        init="$self.s$n = Slots$n($v)",
        changes=["$net.s$n.k = $v", "$net.s$n.other = $v", "$net.s$n = Slots$n($v)"],
    ),
    Feature(
        "namespace",
        "$self.args$n.k",
        init="$self.args$n = argparse.Namespace(k=$v)",
        changes=["$net.args$n.k = $v", "vars($net.args$n).update(k=$v)"],
    ),
    Feature(
        "simple namespace",
        "space$n.k",
        module="space$n = types.SimpleNamespace(k=$v)",
        changes=["space$n.k = $v", "space$n.other = $v"],
    ),
    Feature(
        "dictionary",
        "$self.d$n['k']",
        init="$self.d$n = {'k': $v, 'j': $v}",
        changes=["$net.d$n['k'] = $v", "$net.d$n.update(k=$v)", "$net.d$n = dict(k=$v)"],
    ),
    Feature(
        "values of a dictionary",
        "sum($self.dv$n.values())",
        init="$self.dv$n = {'k': $v, 'j': $v}",
        changes=["$net.dv$n['m'] = $v", "$net.dv$n.pop('k', None)", "$net.dv$n.clear()"],
    ),
    Feature(
        "get of a dictionary",
        "options$n.get('k', $v)",
        module="options$n = {}",
        changes=[
            "options$n['k'] = $v",
            "options$n.pop('k', None)",
            "options$n.setdefault('k', $v)",
        ],
    ),
    Feature(
        "key in a dictionary",
        "($v if 'k' in options$n else $v)",
        module="options$n = collections.OrderedDict()",
        changes=["options$n['k'] = $v", "options$n.pop('k', None)"],
    ),
    Feature(
        "defaultdict",
        "sum(dd$n.values())",
        module="dd$n = collections.defaultdict(int, k=$v)",
        changes=["dd$n['k'] += 1", "dd$n['j'] = $v"],
    ),
    Feature(
        "counter",
        "counter$n['a']",
        module="counter$n = collections.Counter('aab')",
        changes=["counter$n.update('a')", "counter$n.subtract('ab')"],
    ),
    Feature(
        "chain of maps",
        "chain$n['k']",
        module="chain$n = collections.ChainMap({}, {'k': $v})",
        changes=[
            "chain$n['k'] = $v",
            "chain$n.maps[1]['k'] = $v",
            "chain$n.maps.insert(0, {'k': $v})",
        ],
    ),
    Feature(
        "mapping proxy",
        "proxy$n['k']",
        module="below$n = {'k': $v}\nproxy$n = types.MappingProxyType(below$n)",
        changes=["below$n['k'] = $v"],
    ),
    Feature(
        "list",
        "$self.l$n[0]",
        init="$self.l$n = [$v, $v]",
        changes=[
            "$net.l$n[0] = $v",
            "$net.l$n.insert(0, $v)",
            "$net.l$n.reverse()",
            "$net.l$n[:] = [$v]",
        ],
    ),
    Feature(
        "sum of a list",
        "sum(list$n)",
        module="list$n = [$v, $v]",
        changes=["list$n.append($v)", "list$n.clear()", "list$n.extend([$v, $v])", "list$n *= 2"][
            :3
        ],
    ),
    Feature(
        "list in a list",
        "$self.ll$n[0][0]",
        init="$self.ll$n = [[$v], $v]",
        changes=["$net.ll$n[0][0] = $v", "$net.ll$n[0] = [$v]", "$net.ll$n[0].insert(0, $v)"],
    ),
    Feature(
        "tuple with a list",
        "$self.tl$n[0][-1]",
        init="$self.tl$n = ([$v], $v)",
        changes=["$net.tl$n[0].append($v)", "$net.tl$n = ([$v], 0)"],
    ),
    Feature(
        "deque",
        "$self.q$n[0]",
        init="$self.q$n = collections.deque([$v, $v, $v])",
        changes=["$net.q$n.appendleft($v)", "$net.q$n.rotate(1)", "$net.q$n[0] = $v"],
    ),
    Feature(
        "set",
        "sum(set$n)",
        module="set$n = {1, 2}",
        changes=["set$n.add(3)", "set$n.discard(1)", "set$n.clear()"],
    ),
    Feature(
        "element of a set",
        "($v if 2 in set$n else $v)",
        module="set$n = {1, 2}",
        changes=["set$n.add(2)", "set$n.discard(2)"],
    ),
    Feature(
        "class attribute of self",
        "$self.of_class$n",
        member="of_class$n = $v",
        changes=[
            "type($net).of_class$n = $v",
            "$net.of_class$n = $v",
            "$net.__dict__.pop('of_class$n', None)",
        ],
        weight=2,
    ),
    Feature(
        "class attribute by its class",
        "type($self).by_class$n",
        member="by_class$n = $v",
        changes=["type($net).by_class$n = $v", "$net.by_class$n = $v"],
    ),
    Feature(
        "class attribute by a global",
        "Settings$n.k",
        module="class Settings$n:\n    k = $v",
        changes=["Settings$n.k = $v", "setattr(Settings$n, 'k', $v)"],
    ),
    Feature(
        "attribute of a base class",
        "derived$n.k",
        module="""
            class Base$n:
                k = $v
            class Derived$n(Base$n):
                pass
            derived$n = Derived$n()
        """,
        changes=["Base$n.k = $v", "Derived$n.k = $v", "derived$n.k = $v"],
    ),
    Feature(
        "super",
        "lower$n.value()",
        module="""
            class Upper$n:
                k = $v
                def value(self):
                    return self.k
            class Lower$n(Upper$n):
                def value(self):
                    return super().value() + $v
            lower$n = Lower$n()
        """,
        changes=["Upper$n.k = $v", "Upper$n.value = lambda self: $v", "lower$n.value = lambda: $v"],
    ),
    Feature(
        "class of an object changed",
        "shifting$n.value()",
        module="""
            class One$n:
                def value(self):
                    return $v
            class Other$n:
                def value(self):
                    return $v
            shifting$n = One$n()
        """,
        changes=["shifting$n.__class__ = Other$n", "shifting$n.__class__ = One$n"],
    ),
    Feature(
        "metaclass",
        "Made$n.k",
        module="""
            class Meta$n(type):
                base = $v
                @property
                def k(cls):
                    return cls.base
            class Made$n(metaclass=Meta$n):
                pass
        """,
        changes=["Made$n.base = $v", "Meta$n.base = $v"],
    ),
    Feature(
        "descriptor",
        "described$n.k",
        module="""
            class Descriptor$n:
                value = $v
                def __get__(self, owner, kind=None):
                    return self.value
            class Described$n:
                k = Descriptor$n()
            described$n = Described$n()
        """,
        changes=["Descriptor$n.value = $v", "Described$n.__dict__['k'].value = $v"],
    ),
    Feature(
        "__getattr__",
        "dynamic$n.anything",
        module="""
            class Dynamic$n:
                def __init__(self):
                    self.table = {'anything': $v}
                def __getattr__(self, name):
                    return self.table[name]
            dynamic$n = Dynamic$n()
        """,
        changes=["dynamic$n.table['anything'] = $v", "dynamic$n.anything = $v"],
    ),
    Feature(
        "custom container",
        "(box$n[0] + len(box$n) + (1 in box$n) + bool(box$n))",
        module="""
            class Box$n:
                def __init__(self, *items):
                    self.items = list(items)
                def __getitem__(self, key):
                    return self.items[key]
                def __len__(self):
                    return len(self.items)
                def __contains__(self, item):
                    return item in self.items
                def __bool__(self):
                    return len(self.items) > 1
            box$n = Box$n($v, $v)
        """,
        changes=["box$n.items.append(1)", "box$n.items[0] = $v", "Box$n.__len__ = lambda self: 5"],
    ),
    Feature(
        "subclass of list",
        "(items$n[0] * items$n.factor)",
        module="""
            class Items$n(list):
                factor = $v
            items$n = Items$n([$v])
        """,
        changes=["items$n[0] = $v", "Items$n.factor = $v", "items$n.factor = $v"],
    ),
    Feature(
        "subclass of dict",
        "options$n.k",
        module="""
            class Options$n(dict):
                def __getattr__(self, name):
                    return self[name]
            options$n = Options$n(k=$v)
        """,
        changes=["options$n['k'] = $v", "options$n.update(k=$v)", "options$n.k = $v"],
    ),
    Feature(
        "subclass of int",
        "(number$n + number$n.more)",
        module="""
            class Number$n(int):
                more = $v
            number$n = Number$n(2)
        """,
        changes=["Number$n.more = $v", "number$n.more = $v", "globals()['number$n'] = Number$n(3)"],
    ),
    Feature(
        "user-defined iteration",
        "sum(steps$n)",
        module="""
            class Steps$n:
                def __init__(self):
                    self.count = 2
                def __iter__(self):
                    for step in range(self.count):
                        yield step
            steps$n = Steps$n()
        """,
        changes=["steps$n.count = 3", "steps$n.count = 0"],
    ),
    Feature(
        "arithmetic of a class",
        "float(amount$n * 2)",
        module="""
            class Amount$n:
                def __init__(self, value):
                    self.value = value
                def __mul__(self, other):
                    return Amount$n(self.value * other)
                def __float__(self):
                    return float(self.value)
            amount$n = Amount$n($v)
        """,
        changes=["amount$n.value = $v", "Amount$n.__float__ = lambda self: $v + 0.0"],
    ),
    Feature(
        "callable object",
        "$self.call$n($v)",
        module="""
            class Call$n:
                k = $v
                def __call__(self, value):
                    return value * self.k
        """,
        init="$self.call$n = Call$n()",
        changes=["$net.call$n.k = $v", "Call$n.k = $v", "Call$n.__call__ = lambda self, value: $v"],
    ),
    Feature(
        "module attribute",
        "settings$n.FACTOR",
        module="settings$n = do.module('settings$n', 'FACTOR = $v')",
        changes=["settings$n.FACTOR = $v", "setattr(settings$n, 'FACTOR', $v)"],
    ),
    Feature(
        "function of a module",
        "settings$n.scaled($v)",
        module="settings$n = do.module('settings$n', 'INNER = $v\\n'\n"
        "    'def scaled(x):\\n    return x * INNER')",
        changes=["settings$n.INNER = $v", "settings$n.scaled = lambda x: $v"],
    ),
    Feature(
        "import inside a function",
        "imported$n()",
        module="""
            settings$n = do.module('settings$n', 'FACTOR = $v')
            def imported$n():
                import settings$n as other
                from settings$n import FACTOR
                return other.FACTOR + FACTOR
        """,
        changes=["settings$n.FACTOR = $v"],
    ),
    Feature("global", "G$n", module="G$n = $v", changes=["globals()['G$n'] = $v"], weight=2),
    Feature(
        "globals()",
        "globals()['G$n']",
        module="G$n = $v",
        changes=["globals()['G$n'] = $v"],
        weight=0.3,
    ),
    Feature(
        "global that hides a builtin",
        "abs($v)",
        changes=["globals()['abs'] = lambda value: $v", "globals().pop('abs', None)"],
        weight=0.3,
    ),
    Feature(
        "missing global",
        "lost$n()",
        module="""
            def lost$n():
                try:
                    return LOST$n
                except NameError:
                    return $v
        """,
        changes=["globals()['LOST$n'] = $v", "globals().pop('LOST$n', None)"],
    ),
    Feature(
        "closure",
        "read$n()",
        module="""
            def closed$n():
                k = $v
                def read():
                    return k
                def write(value):
                    nonlocal k
                    k = value
                return read, write
            read$n, write$n = closed$n()
        """,
        changes=["write$n($v)"],
        weight=2,
    ),
    Feature(
        "list in a closure",
        "held$n()",
        module="def holder$n(held):\n    return lambda: held[0]\nheld_list$n = [$v]\n"
        "held$n = holder$n(held_list$n)",
        changes=["held_list$n[0] = $v", "globals()['held$n'] = holder$n([$v])"],
    ),
    Feature(
        "default argument",
        "given$n()",
        module="def given$n(k=$v):\n    return k",
        changes=["given$n.__defaults__ = ($v,)", "globals()['given$n'] = lambda: $v"],
    ),
    Feature(
        "keyword default",
        "named$n()",
        module="def named$n(*, k=$v):\n    return k",
        changes=["named$n.__kwdefaults__ = {'k': $v}", "named$n.__kwdefaults__['k'] = $v"],
    ),
    Feature(
        "mutable default",
        "mutable$n()",
        module="def mutable$n(k=[$v]):\n    return k[0]",
        changes=["mutable$n.__defaults__[0][0] = $v", "mutable$n.__code__ = given_code$n.__code__"][
            :1
        ],
    ),
    Feature(
        "code of a function",
        "coded$n()",
        module="def coded$n():\n    return $v\ndef other$n():\n    return $v",
        changes=["coded$n.__code__ = other$n.__code__"],
    ),
    Feature(
        "attribute of a function",
        "marked$n()",
        module="def marked$n():\n    return marked$n.k\nmarked$n.k = $v",
        changes=["marked$n.k = $v"],
    ),
    Feature(
        "partial",
        "$self.p$n(1)",
        module="def multiplied$n(a, k=1):\n    return a * k",
        init="$self.p$n = functools.partial(multiplied$n, k=$v)",
        changes=["$net.p$n.keywords['k'] = $v", "$net.p$n = functools.partial(multiplied$n, k=$v)"],
    ),
    Feature(
        "partial with a list",
        "first$n()",
        module="def take$n(items):\n    return items[0]\ntaken$n = [$v]\n"
        "first$n = functools.partial(take$n, taken$n)",
        changes=["taken$n[0] = $v", "taken$n.insert(0, $v)"],
    ),
    Feature(
        "decorated function",
        "wrapped$n($v)",
        module="""
            def by$n(factor):
                def decorate(function):
                    @functools.wraps(function)
                    def inner(*args, **keywords):
                        return function(*args, **keywords) * factor[0]
                    return inner
                return decorate
            factor$n = [$v]
            @by$n(factor$n)
            def wrapped$n(value):
                return value + 1
        """,
        changes=["factor$n[0] = $v", "wrapped$n.__wrapped__.__defaults__ = ($v,)"],
    ),
    Feature(
        "cached function",
        "cached$n()",
        module="cached_from$n = [$v]\n@functools.lru_cache(None)\n"
        "def cached$n():\n    return cached_from$n[0]",
        changes=["cached_from$n[0] = $v", "cached_from$n[0] = $v; cached$n.cache_clear()"],
        weight=0.5,
    ),
    Feature(
        "single dispatch",
        "dispatched$n($v)",
        module="""
            @functools.singledispatch
            def dispatched$n(value):
                return $v
            @dispatched$n.register
            def _(value: int):
                return value
        """,
        changes=["dispatched$n.register(float, lambda value: 3)"],
        weight=0.5,
    ),
    Feature(
        "method",
        "$self.method$n()",
        member="def method$n(self):\n    return $v",
        changes=[
            "$net.method$n = lambda: $v",
            "type($net).method$n = lambda self: $v",
            "$net.method$n = types.MethodType(lambda self: $v, $net)",
        ],
        weight=2,
    ),
    Feature(
        "property",
        "$self.prop$n",
        member="@property\ndef prop$n(self):\n    return self.below_prop$n",
        init="$self.below_prop$n = $v",
        changes=["$net.below_prop$n = $v", "type($net).prop$n = property(lambda self: $v)"],
        weight=2,
    ),
    Feature(
        "cached property",
        "lazy$n.k",
        module="""
            class Lazy$n:
                base = $v
                @functools.cached_property
                def k(self):
                    return self.base
            lazy$n = Lazy$n()
        """,
        changes=["lazy$n.__dict__.pop('k', None); lazy$n.base = $v", "lazy$n.k = $v"],
    ),
    Feature(
        "static and class methods",
        "($self.fixed$n() + $self.of_type$n())",
        member="@staticmethod\ndef fixed$n():\n    return $v\n"
        "@classmethod\ndef of_type$n(cls):\n    return cls.below$n\nbelow$n = $v",
        changes=["type($net).below$n = $v", "type($net).fixed$n = staticmethod(lambda: $v)"],
    ),
    Feature(
        "dataclass",
        "$self.data$n.total()",
        module="""
            @dataclasses.dataclass
            class Data$n:
                k: float = $v
                items: list = dataclasses.field(default_factory=lambda: [$v])
                def total(self):
                    return self.k + sum(self.items)
        """,
        init="$self.data$n = Data$n()",
        changes=["$net.data$n.k = $v", "$net.data$n.items.append($v)", "$net.data$n = Data$n($v)"],
    ),
    Feature(
        "frozen dataclass",
        "sum(dataclasses.asdict($self.frozen$n).values())",
        module="@dataclasses.dataclass(frozen=True)\nclass Frozen$n:\n    k: float = $v\n"
        "    j: float = $v",
        init="$self.frozen$n = Frozen$n()",
        changes=["$net.frozen$n = dataclasses.replace($net.frozen$n, k=$v)"],
    ),
    Feature(
        "named tuple",
        "$self.named$n.k",
        module="Named$n = collections.namedtuple('Named$n', 'k j')",
        init="$self.named$n = Named$n($v, [$v])",
        changes=["$net.named$n = $net.named$n._replace(k=$v)"],
    ),
    Feature(
        "enumeration",
        "$self.choice$n.value",
        module="class Choice$n(enum.Enum):\n    ONE = $v\n    TWO = 7",
        init="$self.choice$n = Choice$n.ONE",
        changes=["$net.choice$n = Choice$n.TWO"],
    ),
    Feature(
        "environment",
        "float(os.environ.get('TIGON_FUZZ_$n', '$v'))",
        changes=["os.environ['TIGON_FUZZ_$n'] = '$v'", "os.environ.pop('TIGON_FUZZ_$n', None)"],
    ),
    Feature(
        "getenv",
        "float(os.getenv('TIGON_FUZZ_$n', '$v'))",
        changes=["os.environ['TIGON_FUZZ_$n'] = '$v'", "os.environ.pop('TIGON_FUZZ_$n', None)"],
    ),
    Feature(
        "numpy array",
        "float($self.n$n[0])",
        init="$self.n$n = np.array([$v, $v])",
        changes=["$net.n$n[0] = $v", "$net.n$n = np.array([$v])", "$net.n$n *= 2"],
    ),
    Feature(
        "numpy scalar",
        "$self.ns$n",
        init="$self.ns$n = np.float32($v)",
        changes=["$net.ns$n = np.float32($v)", "$net.ns$n = np.float64($v)"],
    ),
    Feature(
        "text",
        "float($self.text$n.split(',')[0])",
        init="$self.text$n = '$v,$v'",
        changes=["$net.text$n = '$v,$v'"],
    ),
    Feature(
        "type held by an attribute",
        "float($self.kind$n('2'))",
        init="$self.kind$n = float",
        changes=["$net.kind$n = int", "$net.kind$n = len"],
    ),
    Feature(
        "attribute by a name put together",
        "getattr($self, 'put$n'.lower() + str(1))",
        init="$self.put$n1 = $v",
        changes=["$net.put$n1 = $v", "setattr($net, 'PUT$n1'.lower(), $v)"],
    ),
    Feature(
        "attribute by a name from a table",
        "getattr($self.held$n, table$n.get('k'))",
        module="table$n = {'k': 'a'}\n" + _CONFIG,
        init="$self.held$n = Config$n(a=$v, b=$v)",
        changes=["$net.held$n.a = $v", "table$n['k'] = 'b'", "$net.held$n.b = $v"],
    ),
    Feature(
        "getattr by another name",
        "fetch$n($self.mine$n, 'a')",
        module="fetch$n = getattr\n" + _CONFIG,
        init="$self.mine$n = Config$n(a=$v)",
        changes=["$net.mine$n.a = $v"],
    ),
    Feature(
        "global by a name put together",
        "globals()['GLOBAL' + str($n)]",
        module="GLOBAL$n = $v",
        changes=["globals()['GLOBAL$n'] = $v"],
    ),
    Feature(
        "attribute that a function has not",
        "getattr(bare$n, 'k', $v)",
        module="def bare$n():\n    return None",
        changes=["bare$n.k = $v", "bare$n.__dict__.pop('k', None)"],
    ),
    Feature(
        "attribute that a thread has not",
        "getattr(local$n, 'k', $v)",
        module="import threading\nlocal$n = threading.local()",
        changes=["local$n.k = $v", "vars(local$n).pop('k', None)"],
    ),
    Feature(
        "default of a context variable",
        "variable$n.get()[0]",
        module="import contextvars\ndefault$n = [$v]\n"
        "variable$n = contextvars.ContextVar('variable$n', default=default$n)",
        changes=["default$n[0] = $v", "variable$n.set([$v])"],
    ),
    Feature(
        "schedule",
        "$self.schedule$n(1)",
        init="$self.schedule$n = mx.lr_scheduler.FactorScheduler(100, 0.5, base_lr=abs($v))",
        changes=["$net.schedule$n.base_lr = $v"],
    ),
    Feature(
        "flags of layers",
        "sum($v for one in $self.flagged$n if one.on)",
        init="$self.flagged$n = nn.HybridSequential()\n"
        "$self.flagged$n.add(nn.Activation('relu'), nn.Activation('tanh'))\n"
        "$self.flagged$n[0].on, $self.flagged$n[1].on = True, False",
        changes=["$net.flagged$n[0].on = not $net.flagged$n[0].on", "$net.flagged$n[1].on = True"],
        blocks_only=True,
    ),
    Feature(
        "multipliers of all parameters",
        "sum(p.wd_mult for p in $self.collect_params().values())",
        changes=["$net.weight.wd_mult = $v", "$net.dense.weight.wd_mult = $v"],
        blocks_only=True,
    ),
    Feature(
        "rate of a parameter",
        "$self.weight.lr_mult",
        changes=["$net.weight.lr_mult = $v"],
        blocks_only=True,
    ),
    Feature(
        "wd_mult of a parameter",
        "($v if $self.weight.wd_mult == 1.0 else -$v)",
        changes=["$net.weight.wd_mult = 2.0", "$net.weight.wd_mult = 1.0"],
        blocks_only=True,
        weight=0.5,
    ),
    Feature(
        "attribute of a layer",
        "$self.dense._units",
        blocks_only=True,
        weight=0.3,
    ),
    Feature("shape", "x.shape[0]"),
    Feature("size", "(x.size + x.ndim)", weight=0.5),
    Feature("mode", "(2 if autograd.is_training() else 3)"),
    Feature("recording", "(2 if autograd.is_recording() else 3)", weight=0.7),
    Feature("kind of an argument", "(2 if isinstance(x, str) else 3)", weight=0.5),
]
"""What a number may be read from."""

NUMBERS = [
    "($e + $e)",
    "max($e, $e)",
    "sum([$e, $e])",
    "($e if $e > 1.2 else $e)",
    "(lambda a, b=$e: a - b)($e)",
    "sum(item * 0.5 for item in ($e, $e))",
    "sum([item for item in [$e, $v] if item > 0])",
    "{'a': $e, **{'b': $v}}['a']",
    "sorted([$e, $v], key=lambda item: -item)[0]",
    "functools.reduce(lambda a, b: a + b, [$e, $v])",
    "sum(map(abs, [$e, $v]))",
    "len(list(filter(None, [$e, 0])))",
    "[$e, $v][int(len('abc') > 2)]",
    "sum(a * b for a, b in zip([$e, 1], (1, $v)))",
    "sum(i * item for i, item in enumerate([$v, $e]))",
    "float('{:.2f}'.format($e))",
    "len('{}'.format($e))",
    "dict(a=$e).get('a', 0)",
    "next(iter({'k': $e}.values()))",
    "(lambda *args, **keywords: sum(args) + sum(keywords.values()))($e, k=$v)",
    "min({$e, $v})",
    "any(item > 1 for item in [$e])",
    "math.floor($e)",
    "int(isinstance($e, int))",
    "(not $e) + 1",
    "max((len(word), word) for word in ['a', 'bc' * int(abs($e) + 1)])[0]",
    "-($e)",
    "[*range(3)][-1] * $e",
    "operator.add($e, $v)",
]
"""Numbers made of numbers."""

ARRAYS = [
    "x * $m",
    "x + $m",
    "$m - x",
    "nd.tanh(x)",
    "nd.tanh(x) * $m",
    "x.relu() + $m",
    "nd.sigmoid(x)",
    "x - x.mean(axis=1, keepdims=True)",
    "x / (1 + nd.abs(x))",
    "nd.softmax(x)",
    "nd.clip(x, -2, 2)",
    "x.reshape((-1, 3))",
    "x.transpose().transpose()",
    "nd.concat(x[:, 0:1], x[:, 1:3] * $m, dim=1)",
    "nd.where(x > 0.123, x, x * $m)",
    "nd.broadcast_add(x, x.sum(axis=0, keepdims=True)) / 4",
    "nd.stack(x, x * $m).mean(axis=0)",
    "x.expand_dims(0)[0]",
    "sum([part * $m for part in (x, x)]) / 2",
    "-x",
    "x + x[0]",
    "x[::-1]",
    "nd.ones_like(x) * $m",
    "x.astype('float64').astype('float32')",
    "nd.dot(x, nd.ones((3, 3))) * 0.3",
    "x * nd.array([1, $m, 1])",
    "nd.zeros(x.shape) + x",
    "x.copy()",
    "x.slice_axis(axis=1, begin=0, end=3)",
    "nd.sign(x) * $m",
]
"""Arrays of the shape of `x`; `$m` is a number of moderate size."""

STATEMENTS = [
    Feature("assignment", "x = $x", weight=6),
    Feature("condition", "if $e > 1.2:\n    $block\nelse:\n    $block", weight=2),
    Feature("loop", "for i in range(int(abs($e)) % 3):\n    x = x + i\n    $block"),
    Feature("loop over a list", "for i, factor in enumerate([$m, $m]):\n    x = x * factor + i"),
    Feature(
        "while",
        "count$n = 0\nwhile count$n < abs($e) % 3:\n    count$n += 1\n    $block",
    ),
    Feature(
        "break and continue",
        "for item in [$m, $m, $m]:\n    if item > 1.2:\n        continue\n    x = x * item\n"
        "    if item < 0:\n        break\nelse:\n    x = x + 1",
    ),
    Feature("walrus", "if (size$n := x.shape[0]) > 2:\n    x = x + size$n\nelse:\n    $block"),
    Feature("walrus of a number", "if (number$n := $e) > 1.2:\n    x = x + number$n"),
    Feature("list comprehension", "x = nd.add_n(*[x * k for k in [$m, $m]])"),
    Feature("generator", "x = sum(x * k for k in ($m, $m))"),
    Feature(
        "dictionary of arrays",
        "table$n = {'a': x, 'b': $x}\ntable$n['a'] = table$n['a'] * $m\n"
        "x = sum(item for key, item in sorted(table$n.items()))",
    ),
    Feature(
        "containers of arrays",
        "parts$n = [x, $x]\nparts$n.append(x * $m)\nfirst, *rest = parts$n\nx = first + rest[-1]",
    ),
    Feature("zip", "x = sum(a * b for a, b in zip([x, $x], [$m, $m]))"),
    Feature("map", "x = nd.add_n(*map(lambda k: x * k, [$m, $m]))"),
    Feature(
        "nested function",
        "def inner$n(a, k=$m):\n    return a * k + $m\nx = inner$n(x)",
    ),
    Feature(
        "closure over an array",
        "def inner$n():\n    nonlocal x\n    x = $x\ninner$n()",
    ),
    Feature(
        "generator function",
        "def parts$n():\n    yield x\n    yield $x\nx = nd.add_n(*parts$n())",
    ),
    Feature("lambda", "x = (lambda a: a * $m)(x)"),
    Feature(
        "recursion",
        "x = recursive$n(x, int(abs($e)) % 3)",
        module="def recursive$n(x, depth):\n    if depth == 0:\n        return x\n"
        "    return recursive$n(nd.tanh(x), depth - 1) + depth",
    ),
    Feature(
        "helper function",
        "x = helper$n(x, $m, scale=$m)",
        module="def helper$n(x, *args, scale=1, **keywords):\n    return x * scale + sum(args)",
        changes=["globals()['helper$n'] = lambda x, *args, **keywords: x * 0.5"],
    ),
    Feature(
        "helper that reads state",
        "x = reader$n(x)",
        module="READ$n = $v\ndef reader$n(x):\n    if READ$n > 1.2:\n        return x + READ$n\n"
        "    return x * READ$n",
        changes=["globals()['READ$n'] = $v"],
    ),
    Feature(
        "method of arrays",
        "x = $self.step$n(x)",
        member="def step$n(self, x):\n    return x * $v",
        changes=[
            "$net.step$n = lambda x: x * $v",
            "type($net).step$n = lambda self, x: x + $v",
        ],
        weight=2,
    ),
    Feature(
        "function held by an attribute",
        "x = $self.act$n(x)",
        init="$self.act$n = nd.tanh",
        changes=[
            "$net.act$n = nd.sigmoid",
            "$net.act$n = lambda x: x * $v",
            "$net.act$n = nd.relu",
        ],
        weight=2,
    ),
    Feature(
        "table of functions",
        "for act in acts$n:\n    x = act(x)",
        module="acts$n = [nd.tanh]",
        changes=["acts$n.append(nd.sigmoid)", "acts$n[:] = [nd.relu]", "acts$n.clear()"],
    ),
    Feature(
        "partial of an operator",
        "x = clip$n(x)",
        module="clip$n = functools.partial(nd.clip, a_min=-1, a_max=1)",
        changes=["clip$n.keywords['a_max'] = 0.25", "clip$n.keywords.update(a_min=-0.25)"],
    ),
    Feature("computed method", "x = getattr(x, 'ta' + 'nh')()"),
    Feature(
        "method by its name",
        "x = getattr(x, NAME$n)()",
        module="NAME$n = 'tanh'",
        changes=["globals()['NAME$n'] = 'sigmoid'"],
    ),
    Feature(
        "try",
        "try:\n    $block\n    if $e > 2.2:\n        raise ValueError('large')\n    x = x + 1\n"
        "except ValueError:\n    x = x * $m\nelse:\n    x = x - 1\nfinally:\n    x = x * 0.5",
    ),
    Feature(
        "exception of its own",
        "try:\n    x = raising$n(x)\nexcept Large$n as error:\n    x = x * error.args[0]",
        module="class Large$n(Exception):\n    pass\nLIMIT$n = $v\ndef raising$n(x):\n"
        "    if LIMIT$n > 1.2:\n        raise Large$n($v)\n    return x",
        changes=["globals()['LIMIT$n'] = $v"],
    ),
    Feature(
        "key that is missing", "try:\n    x = x * {'a': $m}['b']\nexcept KeyError:\n    x = $x"
    ),
    Feature(
        "context manager",
        "with scaled$n($m) as factor$n:\n    x = x * factor$n",
        module="@contextlib.contextmanager\ndef scaled$n(factor):\n    yield factor + BASE$n\n"
        "BASE$n = $v",
        changes=["globals()['BASE$n'] = $v"],
    ),
    Feature(
        "context manager of a class",
        "with manager$n:\n    x = x * manager$n.depth",
        module="""
            class Manager$n:
                depth = $v
                def __enter__(self):
                    return self
                def __exit__(self, *error):
                    return False
            manager$n = Manager$n()
        """,
        changes=["manager$n.depth = $v", "Manager$n.depth = $v"],
    ),
    Feature(
        "context manager that counts",
        "with nested$n:\n    x = x + nested$n.depth",
        module="""
            class Nested$n:
                depth = 0
                def __enter__(self):
                    self.depth += 1
                def __exit__(self, *error):
                    self.depth -= 1
            nested$n = Nested$n()
        """,
        seen="nested$n.depth",
        weight=0.6,
    ),
    Feature("suppress", "with contextlib.suppress(ValueError):\n    x = $x\n    raise ValueError"),
    Feature(
        "object made inside",
        "x = Made$n($m).apply(x)",
        module="class Made$n:\n    extra = $v\n    def __init__(self, k):\n        self.k = k\n"
        "    def apply(self, x):\n        self.k += self.extra\n        return x * self.k * 0.5",
        changes=["Made$n.extra = $v", "Made$n.apply = lambda self, x: x * $v"],
    ),
    Feature(
        "class made inside",
        "class Inside$n:\n    k = $m\nx = x * Inside$n.k",
    ),
    Feature(
        "dataclass of arrays",
        "pair$n = Pair$n(x, $x)\npair$n.first = pair$n.first * $m\nx = pair$n.total()",
        module="@dataclasses.dataclass\nclass Pair$n:\n    first: object\n"
        "    second: object = None\n    def total(self):\n        return self.first + self.second",
    ),
    Feature("assertion", "assert x.shape[1] == 3, 'shape'\nx = $x"),
    Feature("star assignment", "n$n, *others$n = x.shape\nx = x + n$n + sum(others$n)"),
    Feature("unpacking rows", "x = nd.stack(*[row * $m for row in x])"),
    Feature("shape arithmetic", "x = x.reshape((x.shape[0] * 3,)).reshape((-1, 3)) + len(x)"),
    Feature(
        "split",
        "left$n, *right$n = nd.split(x, num_outputs=3, axis=1)\n"
        "x = nd.concat(*right$n, left$n, dim=1)",
    ),
    Feature("match of types", "x = x * (1.5 if type($e) is int else 0.5)"),
    Feature(
        "local array written",
        "y$n = x * 1\ny$n[:] = $m\ny$n[0] = x[0]\nx = y$n + x",
        weight=1.5,
        unrecorded=True,
    ),
    Feature(
        "local array added to",
        "y$n = x * 1\ny$n += $m\ny$n *= 0.5\nx = y$n",
        weight=1.5,
        unrecorded=True,
    ),
    Feature(
        "view written",
        "y$n = nd.zeros(x.shape)\nv$n = y$n[0:1]\nv$n[:] = $m\nx = x + y$n",
    ),
    Feature(
        "element written", "y$n = nd.ones(x.shape)\ny$n[0, 1] = $m\ny$n[:, 2] = 0.5\nx = x * y$n"
    ),
    Feature(
        "captured array",
        "x = x * $self.array$n",
        init="$self.array$n = nd.array([1, $v, 1])",
        changes=[
            "$net.array$n[:] = $v",
            "$net.array$n[1] = $v",
            "$net.array$n = nd.array([$v, 1, 1])",
            "$net.array$n += 1",
        ],
        weight=1.5,
    ),
    Feature(
        "list of arrays held",
        "for item in arrays$n:\n    x = x + item",
        module="arrays$n = [nd.array([1, $v, 1])]",
        changes=[
            "arrays$n.append(nd.ones((3,)))",
            "for item in arrays$n: item[:] = $v",
            "arrays$n.clear()",
        ],
    ),
    Feature(
        "numpy operand",
        "x = x * nd.array($self.host$n)",
        init="$self.host$n = np.array([1, $v, 1], 'float32')",
        changes=["$net.host$n[1] = $v", "$net.host$n = np.array([$v, 1, 1], 'float32')"],
    ),
    Feature("paused", "with autograd.pause():\n    scale$n = nd.tanh(x)\nx = x * scale$n"),
    Feature("predicting", "with autograd.predict_mode():\n    x = nd.Dropout(x, p=0.5) * $m"),
    Feature("training", "with autograd.train_mode():\n    x = nd.Dropout(x, p=0.5) * $m"),
    Feature("dropout", "x = nd.Dropout(x, p=0.5)"),
    Feature("random array", "x = x + nd.random.uniform(shape=(1, 3)) * $m"),
    Feature("unused random array", "nd.random.normal(shape=(2,))\nx = $x", weight=0.5),
    Feature("stopped gradient", "x = x + nd.BlockGrad(x * $m)"),
    Feature("unused work", "unused$n = $x\nx = x + 1"),
    Feature("deletion", "y$n = $x\nx = y$n + x\ndel y$n"),
    Feature(
        "jit inside",
        "x = compiled$n(x)",
        module="JITTED$n = $v\n@mx.jit\ndef compiled$n(x):\n    return nd.tanh(x) * JITTED$n",
        changes=["globals()['JITTED$n'] = $v"],
        weight=0.6,
    ),
    # -- blocks
    Feature("layer", "x = $self.dense(x)", blocks_only=True, weight=2),
    Feature(
        "parameter",
        "x = x * $self.weight.data()",
        blocks_only=True,
        changes=["$net.weight.set_data(nd.array([$v, $v, 1]))", "$net.weight.data()[:] = $v"],
        weight=2,
    ),
    Feature(
        "batch norm",
        "x = $self.norm$n(x)",
        init="$self.norm$n = nn.BatchNorm(in_channels=3)",
        blocks_only=True,
    ),
    Feature(
        "dropout layer",
        "x = $self.drop$n(x)",
        init="$self.drop$n = nn.Dropout(0.5)",
        changes=["$net.drop$n._rate = 0.25"],
        blocks_only=True,
    ),
    Feature(
        "sequence of layers",
        "for layer in $self.layers$n:\n    x = layer(x)",
        init="$self.layers$n = nn.HybridSequential()\n"
        "$self.layers$n.add(nn.Dense(3, in_units=3, flatten=False), nn.Activation('tanh'))",
        changes=["$net.layers$n.add(nn.Activation('sigmoid'))"],
        blocks_only=True,
        weight=0.7,
    ),
    Feature(
        "shapes found at the first call",
        "x = $self.deferred$n(x)",
        init="$self.deferred$n = nn.Dense(3, flatten=False)",
        blocks_only=True,
        weight=0.6,
    ),
    Feature(
        "child replaced",
        "x = $self.swap$n(x)",
        init="$self.swap$n = nn.Activation('tanh')",
        changes=["$net.swap$n = do.child(nn.Activation('sigmoid'))"],
        blocks_only=True,
    ),
    Feature(
        "shared child",
        "x = $self.left$n(x) + $self.right$n(x)",
        module="""
            class Shared$n(gluon.HybridBlock):
                def __init__(self, shared, factor):
                    super().__init__()
                    self.shared, self.factor = shared, factor
                def forward(self, x):
                    return self.shared(x) * self.factor
        """,
        init="shared$n = nn.Dense(3, in_units=3, flatten=False)\n"
        "$self.left$n, $self.right$n = Shared$n(shared$n, $v), Shared$n(shared$n, $v)",
        changes=["$net.left$n.factor = $v", "$net.left$n.shared.weight.set_data(nd.ones((3, 3)))"],
        blocks_only=True,
    ),
    Feature(
        "hook of a child that counts",
        "x = $self.dense(x)",
        module="CALLS$n = []\ndef hook$n(block, inputs, output):\n    CALLS$n.append(output.shape)",
        init="$self.dense.register_forward_hook(hook$n)",
        seen="CALLS$n",
        blocks_only=True,
        weight=0.5,
    ),
    Feature(
        "hook of a child that reads",
        "x = $self.dense(x)",
        module="READINGS$n = []\ndef hook$n(block, inputs, output):\n"
        "    READINGS$n.append(float(output.mean().asscalar()))",
        changes=["$net.dense.register_forward_hook(hook$n)"],
        seen="READINGS$n",
        blocks_only=True,
        weight=0.5,
    ),
    Feature(
        "hook of the network",
        "x = $x",
        module="SHAPES$n = []",
        changes=[
            "$net.register_forward_hook(lambda b, i, o: SHAPES$n.append(len(i)))",
            "$net.register_forward_pre_hook(lambda b, i: SHAPES$n.append(i[0].shape))",
        ],
        seen="SHAPES$n",
        blocks_only=True,
        weight=0.7,
    ),
    Feature(
        "child with hybrid_forward",
        "x = $self.hybrid$n(x)",
        module="""
            class Hybrid$n(gluon.HybridBlock):
                def __init__(self):
                    super().__init__()
                    self.factor = $v
                    self.bias = self.params.get('bias', shape=(3,), init='ones')
                def hybrid_forward(self, F, x, bias):
                    return F.broadcast_add(F.tanh(x) * self.factor, bias)
        """,
        init="$self.hybrid$n = Hybrid$n()",
        changes=["$net.hybrid$n.factor = $v", "$net.hybrid$n.bias.set_data(nd.ones((3,)) * $v)"],
        blocks_only=True,
    ),
    Feature(
        "several results of a child",
        "first$n, second$n = $self.several$n(x)\nx = first$n + second$n['b'][0]",
        module="""
            class Several$n(gluon.HybridBlock):
                k = $v
                def forward(self, x):
                    return x * self.k, {'b': [nd.tanh(x)], 'k': self.k}
        """,
        init="$self.several$n = Several$n()",
        changes=["Several$n.k = $v", "$net.several$n.k = $v"],
        blocks_only=True,
    ),
]
"""What compiles."""

DECISIONS = [
    Feature("decision", "if x.sum() > 0.123:\n    $block\nelse:\n    $block", weight=3),
    Feature("decision by asscalar", "if x.mean().asscalar() > 0.0123:\n    $block"),
    Feature("conditional expression", "x = x * $m if (x[0, 0] > 0.123) else x + 1"),
    Feature(
        "while on a value",
        "turns$n = 0\nwhile x.max() > 0.377 and turns$n < 2:\n    x = x * 0.5\n    turns$n += 1",
    ),
    Feature("and, or, not", "if not (x.min() > 0.377) or x.max() > 0.5:\n    x = x * 0.5"),
    Feature("float", "x = x * (float(x.mean()) + 1)"),
    Feature("int", "x = x + int(x[0, 1].asscalar() * 3.3)"),
    Feature("asnumpy", "x = x + float(x.asnumpy().sum()) * 0.1"),
    Feature("from numpy and back", "x = nd.array(np.tanh(x.asnumpy())) * $m + x"),
    Feature("numpy function", "x = x + float(np.sum(x.asnumpy()) > 0.1)"),
    Feature(
        "text of a value",
        "TEXTS$n.append(f'{x.mean().asscalar():.2f}')",
        module="TEXTS$n = []",
        seen="[float(text) for text in TEXTS$n]",
    ),
    Feature(
        "index by a value",
        "x = x + [1, 2, 3][int(x[0].argmax(axis=0).asscalar())]",
    ),
    Feature("loop by a value", "for i in range(int(nd.ones((1,)).asscalar())):\n    x = x + i + 1"),
    Feature(
        "decisions in a loop",
        "for i in range(3):\n    x = $x\n    if x.max() > 1.33:\n        break\n"
        "    if x.min() < -0.77:\n        continue\n    x = x * $m + 0.1",
        weight=2,
    ),
    Feature(
        "nested decisions",
        "if x.sum() > 0.123:\n    if x.max() > 0.9:\n        $block\nelse:\n    $block",
        weight=2,
    ),
    Feature(
        "return by a value",
        "if x.mean().item() > 0.477:\n    return x * $m",
    ),
    Feature(
        "draws and decides",
        "d$n = nd.random.uniform(shape=(1,))\nx = x + d$n\nif d$n > 0.5:\n    x = x * $m\n"
        "x = x + nd.random.normal(shape=(1,))",
        weight=2,
    ),
    Feature(
        "state that moves around a decision",
        "x = nd.BatchNorm(x, b$n[0], b$n[1], b$n[2], b$n[3])\nif x[0, 0] > 0.1:\n"
        "    x = nd.BatchNorm(x * $m, b$n[0], b$n[1], b$n[2], b$n[3])",
        module="b$n = [nd.ones((3,)), nd.zeros((3,)), nd.zeros((3,)), nd.ones((3,))]",
        seen="b$n[2] + b$n[3]",
        weight=2,
    ),
    Feature(
        "a decision where recording is paused",
        "with autograd.pause():\n    norm$n = (x * x).sum()\n    large$n = norm$n > 3.3\n"
        "if large$n:\n    x = x * (3 / norm$n)",
    ),
    Feature(
        "a view across a decision",
        "v$n = x[0:1]\nif x.sum() > 0.123:\n    x = x + v$n\nx = x * $m + v$n",
    ),
    Feature(
        "a number compared",
        "m$n = x.max().asscalar()\nif 0.2 < m$n < 2:\n    x = x + 1\n"
        "x = x * (1 if m$n != 0.5 else 2)",
    ),
]
"""Values decide how the code goes on."""

UNCOMPILED = [
    Feature("argument written", "x[0] = $m\nx = x * 2", unrecorded=True),
    Feature("argument added to", "x += 1\nx = x * 2", unrecorded=True),
    Feature(
        "view of the argument written", "v$n = x[0:1]\nv$n[:] = $m\nx = x * 2", unrecorded=True
    ),
    Feature("out", "y$n = nd.zeros(x.shape)\nnd.add(x, x, out=y$n)\nx = y$n + x", unrecorded=True),
    Feature(
        "captured array written",
        "buffer$n[:] = $m\nx = x + buffer$n",
        module="buffer$n = nd.zeros((3,))",
        seen="buffer$n",
        unrecorded=True,
    ),
    Feature(
        "captured array of the sum",
        "total$n[:] = total$n + 1\nx = x + total$n",
        module="total$n = nd.zeros((3,))",
        seen="total$n",
        unrecorded=True,
    ),
    Feature(
        "counter of calls",
        "$self.calls$n += 1\nx = x + $self.calls$n",
        init="$self.calls$n = 0",
        seen="$net.calls$n",
        weight=2,
    ),
    Feature(
        "counter that is not read",
        "$self.uses$n += 1",
        init="$self.uses$n = 0",
        seen="$net.uses$n",
    ),
    Feature(
        "global counter",
        "x = count$n(x)",
        module="COUNT$n = 0\ndef count$n(x):\n    global COUNT$n\n    COUNT$n += 1\n"
        "    return x + COUNT$n",
        seen="COUNT$n",
    ),
    Feature(
        "counter in a closure",
        "x = x + counting$n()",
        module="def made$n():\n    count = 0\n    def step():\n        nonlocal count\n"
        "        count += 1\n        return count\n    return step\ncounting$n = made$n()",
        seen="counting$n()",
    ),
    Feature("log", "LOG$n.append(x.shape)", module="LOG$n = []", seen="LOG$n"),
    Feature(
        "log of a method",
        "$self.note$n(len(x))\nx = $x",
        member="def note$n(self, what):\n    self.notes$n.append(what)",
        init="$self.notes$n = []",
        seen="$net.notes$n",
    ),
    Feature(
        "table of counts",
        "TABLE$n['calls'] = TABLE$n.get('calls', 0) + 1",
        module="TABLE$n = {}",
        seen="TABLE$n",
    ),
    Feature(
        "set that grows",
        "SHAPES$n.add(x.shape)",
        module="SHAPES$n = set()",
        seen="sorted(SHAPES$n)",
    ),
    Feature(
        "deque that grows",
        "QUEUE$n.append($e)",
        module="QUEUE$n = collections.deque(maxlen=3)",
        seen="QUEUE$n",
    ),
    Feature(
        "table filled once",
        "if 'k' not in MEMO$n:\n    MEMO$n['k'] = $v\nx = x * MEMO$n['k']",
        module="MEMO$n = {}",
        changes=["MEMO$n.clear()", "MEMO$n['k'] = $v"],
        seen="MEMO$n",
    ),
    Feature(
        "attribute made once",
        "if not hasattr($self, 'once$n'):\n    $self.once$n = $v\nx = x * $self.once$n",
        changes=["$net.once$n = $v", "$net.__dict__.pop('once$n', None)"],
    ),
    Feature(
        "array made once",
        "if $self.kept$n is None:\n    $self.kept$n = nd.ones((3,)) * $v\nx = x * $self.kept$n",
        init="$self.kept$n = None",
        changes=["$net.kept$n = None", "$net.kept$n = nd.ones((3,)) * $v"],
        seen="$net.kept$n",
    ),
    Feature(
        "state that flows",
        "$self.mean$n = 0.9 * $self.mean$n + x.mean(axis=0)\nx = x - $self.mean$n",
        init="$self.mean$n = nd.zeros((3,))",
        seen="$net.mean$n",
        weight=2,
    ),
    Feature(
        "last value kept",
        "$self.last$n = x * $m",
        init="$self.last$n = None",
        seen="$net.last$n",
        weight=2,
    ),
    Feature(
        "values kept in a list",
        "KEPT$n.append(x * $m)",
        module="KEPT$n = []",
        seen="KEPT$n",
    ),
    Feature(
        "values kept in a dictionary",
        "$self.seen$n['x'] = x + 1",
        init="$self.seen$n = {}",
        seen="$net.seen$n",
    ),
    Feature(
        "values kept in a configuration",
        "holder$n.value = x * 2",
        module="holder$n = types.SimpleNamespace(value=None)",
        seen="holder$n.value",
    ),
    Feature("random", "x = x * (random.random() + 0.5)"),
    Feature("random choice", "x = random.choice([nd.tanh, nd.relu, nd.sigmoid])(x)"),
    Feature("random integers", "if random.randint(0, 2) > 0:\n    $block"),
    Feature("shuffle", "order$n = [1, 2, 3]\nrandom.shuffle(order$n)\nx = x + order$n[0]"),
    Feature("numpy's random", "x = x * float(np.random.rand() + 0.5)"),
    Feature("numpy's random array", "x = x + nd.array(np.random.normal(size=(1, 3)))"),
    Feature(
        "generator of its own",
        "x = x + $self.generator$n.random()",
        init="$self.generator$n = random.Random(3)",
    ),
    Feature(
        "numpy generator of its own",
        "x = x + $self.generator$n.uniform()",
        init="$self.generator$n = np.random.RandomState(3)",
    ),
    Feature(
        "new generator of numpy",
        "x = x + generator$n.uniform()",
        module="generator$n = np.random.default_rng(3)",
    ),
    Feature(
        "iterator",
        "x = x + next(steps$n)",
        module="steps$n = itertools.count(1)",
        seen="next(steps$n)",
    ),
    Feature(
        "cycle",
        "x = x * next($self.cycle$n)",
        init="$self.cycle$n = itertools.cycle([1, 2, 0.5])",
    ),
    Feature(
        "generator held",
        "x = x + next(made$n)",
        module="def numbers$n():\n    count = 0\n    while True:\n        yield count\n"
        "        count += 1\nmade$n = numbers$n()",
        seen="next(made$n)",
    ),
    Feature(
        "pop of a list",
        "if QUEUE$n:\n    x = x + QUEUE$n.pop()",
        module="QUEUE$n = [1, 2, 3]",
        seen="QUEUE$n",
    ),
    Feature(
        "large list",
        "x = x * LARGE$n[5]",
        module="LARGE$n = [$v] * 2000",
        changes=["LARGE$n[5] = $v", "LARGE$n[5] = $v"],
        weight=0.5,
    ),
    Feature(
        "large numpy array",
        "x = x * float(LARGE$n[5])",
        module="LARGE$n = np.ones(3000)",
        changes=["LARGE$n[5] = $v"],
        weight=0.5,
    ),
    Feature(
        "rate changed inside",
        "$self.weight.lr_mult = $self.weight.lr_mult * 0.5\nx = x * $self.weight.lr_mult",
        seen="$net.weight.lr_mult",
        blocks_only=True,
        weight=0.5,
    ),
    Feature(
        "parameter set inside",
        "$self.weight.set_data($self.weight.data() * 0.5)\nx = x * $self.weight.data()",
        blocks_only=True,
        unrecorded=True,
        weight=0.5,
    ),
    Feature(
        "gradient inside",
        "y$n = x.detach() * 1\ny$n.attach_grad()\nwith autograd.record():\n"
        "    z$n = (y$n * y$n).sum()\nz$n.backward()\nx = x + y$n.grad * 0.1",
        unrecorded=True,
        weight=0.7,
    ),
]
"""What a graph cannot hold."""

RESULTS = [
    ("x", 6),
    ("x, $x", 2),
    ("[x, $x]", 1),
    ("{'a': x, 'b': ($x, 3)}", 1),
    ("x, [x * 2, {'k': $e}]", 1),
    ("x, None, 'text', 2.5, True", 1),
    ("x, given", 1),
    ("x, given[0:1]", 1),
    ("x, given.reshape((-1,))", 1),
    ("x, given.reshape((-1, 3))[0:1]", 0.5),
    ("x, x", 1),
    ("Result(x, $x)", 1),
    ("x, np.ones(2)", 0.5),
    ("x, [1, $e]", 1),
    ("(x,)", 0.5),
    ("x, x.shape", 1),
    ("x.sum()", 1),
    ("x.mean(axis=1), x > 0.123", 1),
    ("x.argmax(axis=1), x.astype('float64')", 0.5),
    ("collections.OrderedDict(b=x, a=$x)", 0.5),
    ("x, {1, 2}", 0.3),
    ("x, autograd.is_recording()", 0.5),
    ("x, x.dtype", 0.3),
    ("list(x)", 0.3),
]

LOSSES = [
    "gluon.loss.L2Loss()",
    "gluon.loss.L1Loss(weight=0.5)",
    "lambda output, label: (output - label).square().mean(axis=1)",
    "gluon.loss.HuberLoss()",
]


class Writer:
    """Writes one program."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.kind = self.random.choices(("block", "jit", "step"), (74, 22, 4))[0]
        self.is_block = self.kind != "jit"
        self.recordable = True
        self.count = 0
        self.budget = 0
        self.module: list[str] = []
        self.members: list[str] = []
        self.inits: list[str] = []
        self.changes: list[str] = []
        self.seen: list[str] = []
        self.uncompiled = self.random.random() < 0.3
        self.decides = self.random.random() < 0.35

    # -- pieces

    def fill(self, text: str, number: int) -> str:
        """A template with everything in its place."""
        lines = []
        for line in text.split("\n"):
            stripped = line.lstrip()
            if stripped == "$block":
                indent = line[: len(line) - len(stripped)]
                lines.append(textwrap.indent(self.statements(self.random.randint(1, 2)), indent))
            else:
                lines.append(
                    re.sub(r"\$(self|net|n|v|e|m|x)", lambda m: self.part(m, number), line)
                )
        return "\n".join(lines)

    def part(self, match: re.Match[str], number: int) -> str:
        kind = match.group(1)
        if kind == "n":
            return str(number)
        if kind == "v":
            return self.random.choice(CONSTANTS)
        if kind == "e":
            return self.number()
        if kind == "m":
            return f"({self.number()} % 2 - 0.5)" if self.random.random() < 0.5 else "0.75"
        if kind == "x":
            return self.fill(self.random.choice(ARRAYS), number)
        return {"self": self.owner, "net": self.outside}[kind]

    owner = "self"
    outside = "net"

    def use(self, feature: Feature) -> str:
        self.count += 1
        number = self.count
        module = self.fill(_block(feature.module), number)
        if module:
            self.module.append(module)
        if feature.member:
            self.members.append(self.fill(_block(feature.member), number))
        if feature.init:
            # While it is made it is called self, whatever it is called where the code runs.
            owner, self.owner = self.owner, "self"
            self.inits.append(self.fill(feature.init, number))
            self.owner = owner
        self.changes += [self.fill(change, number) for change in feature.changes]
        if feature.seen:
            self.seen.append(self.fill(feature.seen, number))
        self.recordable = self.recordable and not feature.unrecorded
        return self.fill(feature.code, number)

    def pick(self, features: Sequence[Feature]) -> Feature:
        fitting = [
            f
            for f in features
            if (self.is_block or not f.blocks_only) and not (self.kind == "step" and f.unrecorded)
        ]
        return self.random.choices(fitting, [f.weight for f in fitting])[0]

    def number(self) -> str:
        self.budget += 1
        if self.budget > 12:
            return self.random.choice(CONSTANTS)
        if self.random.random() < 0.3:
            self.count += 1
            return self.fill(self.random.choice(NUMBERS), self.count)
        return self.use(self.pick(STATES))

    def statements(self, count: int) -> str:
        made = []
        for _ in range(count):
            self.budget += 2
            simple = self.budget > 14
            made.append("x = nd.tanh(x)" if simple else self.use(self.pick(STATEMENTS)))
        return "\n".join(made)

    def body(self, count: int) -> str:
        """The statements of a forward."""
        made = [self.statements(1) for _ in range(count)]
        if self.uncompiled:
            place = self.random.randint(0, len(made))
            made.insert(place, self.use(self.pick(UNCOMPILED)))
        if self.decides:
            for _ in range(self.random.randint(1, 2)):
                place = self.random.randint(0, len(made))
                made.insert(place, self.use(self.pick(DECISIONS)))
        return "\n".join(made)

    # -- the whole

    def write(self) -> str:
        if self.kind == "jit":
            self.owner = self.outside = "state"
        body = self.body(self.random.randint(1, 4))
        results, weights = zip(*RESULTS, strict=True)
        result = "x"
        if self.kind == "step":  # which needs something to learn
            body += "\nx = self.dense(x)"
        if self.kind != "step":
            result = self.fill(self.random.choices(results, weights)[0], self.count)
        forward = f"given = x\n{body}\nreturn {result}"
        calls = self.session()
        parts = [HEADER, "Result = collections.namedtuple('Result', 'first second')"]
        if self.kind == "jit":
            parts += [*self.module, self.holder("State", ""), "state = State()"]
            parts.append("def function(x):\n" + textwrap.indent(forward, "    "))
            parts.append("net = function")
        else:
            parts += [*self.module, self.network(forward)]
        parts.append("def session(do):\n" + textwrap.indent(calls, "    "))
        return "\n\n".join(part.rstrip() for part in parts) + "\n"

    def holder(self, name: str, base: str, forward: str = "") -> str:
        lines = ["pass" if not self.inits else "", *self.inits]
        if base:
            lines = [
                "super().__init__()",
                "self.dense = nn.Dense(3, in_units=3, flatten=False)",
                "self.weight = self.params.get('weight', shape=(3,), init='ones')",
                *self.inits,
            ]
        init = "def __init__(self):\n" + textwrap.indent("\n".join(filter(None, lines)), "    ")
        members = [*self.members, init]
        if forward:
            members.append("def forward(self, x):\n" + textwrap.indent(forward, "    "))
        inside = textwrap.indent("\n".join(members), "    ")
        return f"class {name}{f'({base})' if base else ''}:\n{inside}"

    def network(self, forward: str) -> str:
        """The class of the network; what it inherits is written now and then."""
        if self.random.random() < 0.8:
            return self.holder("Net", "gluon.HybridBlock", forward)
        base = self.holder("Base", "gluon.HybridBlock", forward)
        derived = "class Net(Base):\n    def forward(self, x):\n        return super().forward(x)"
        return base + "\n\n" + derived

    def session(self) -> str:
        lines = [
            {
                "block": "net = do.net(Net())",
                "jit": "net = do.jit(function)",
                "step": f"net = Net()\nstep = do.step(net, {self.random.choice(LOSSES)})",
            }[self.kind]
        ]
        modes = ["predict", "predict", "train"]
        if self.recordable:
            modes += ["record", "record", "record predict"]
        rows, mode = 2, self.random.choice(modes)
        for number in range(self.random.randint(4, 7)):
            if number > 1 and self.changes and self.random.random() < 0.8:
                for _ in range(self.random.choice((1, 1, 2))):
                    lines.append(self.random.choice(self.changes))
            if self.random.random() < 0.2:
                mode = self.random.choice(modes)
            if self.random.random() < 0.1:
                rows = 5 - rows
            if self.kind == "step":
                lines.append(f"do.train(step, do.array({rows}, 3), do.array({rows}, 3))")
            else:
                lines.append(f"do.call(net, do.array({rows}, 3), mode='{mode}')")
            lines += [f"do.see({seen})" for seen in self.seen]
        if self.kind == "block" and self.random.random() < 0.1:
            lines.append("do.call(net, do.array(2, 3), mode='predict', write=True)")
        return "\n".join(lines)


def _block(text: str) -> str:
    """Lines as they stand in a table, without their indentation there."""
    return textwrap.dedent(text).strip("\n").rstrip() if text else ""


def program(seed: int) -> str:
    """The program of a seed."""
    return Writer(seed).write()

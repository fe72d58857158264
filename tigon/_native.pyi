"""The native runtime: arrays, tape, engine, thread pool, programs. It knows no operator names.

A kernel is a C function

    int32_t kernel(void* const* buffers, const int64_t* slots, void* scratch,
                   int64_t begin, int64_t end);

that handles points [begin, end) of its space; 0 is success. It never throws and may run on any
thread, several ranges at once. `scratch` is private to the call, 64-byte aligned.
"""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

Signature = tuple[tuple[int, tuple[int, ...], bool], ...]
"""Per operand: dtype code, shape, and whether it is a Python scalar (shape ())."""

# Where a launch finds a buffer: (space, index or byte offset).
INPUT: int  # index of an input
OUTPUT: int  # index of an output
ARENA: int  # byte offset into the program's arena
CONSTANT: int  # index of a constant

class NDArray:
    """A C-contiguous array: a storage, a byte offset, a shape and a dtype.

    Several arrays may share one storage (views). Version and engine order belong to the storage.
    The class is completed from Python: `nd` attaches the methods generated from the registry."""

    shape: tuple[int, ...]
    dtype: Any  # from here to `split_v2` attached by `nd`
    context: Any
    astype: Any
    reshape: Any
    copy: Any
    as_in_context: Any
    index_operand: Any
    split_v2: Any
    def __getitem__(self, key: Any) -> Any: ...
    def __setitem__(self, key: Any, value: Any) -> None: ...
    dtype_code: int
    size: int
    ndim: int
    nbytes: int
    version: int  # of the storage
    storage_id: int  # equal for views of one storage
    grad: NDArray | None  # the array that backward fills, None unless attached
    grad_req: str  # "null", "write" or "add"
    has_tape: bool  # result of a recorded operator
    is_pending: bool  # what it is to hold is still computed
    is_comparison: bool  # its zeros and ones are answers, not numbers
    device_index: int  # of its device in the table of devices
    donated: bool  # its memory was given away; every use raises
    storage_offset: int  # bytes from the start of the storage
    # slots: + - * / // % ** @ unary - abs, comparisons, in-place forms; each invokes the operator
    # registered with `set_slot_operator`.
    def asnumpy(self) -> np.ndarray: ...  # waits, copies
    def item(self) -> float | int | bool: ...  # waits; size must be 1
    def wait_to_read(self) -> None: ...
    def view(self, offset: int, shape: tuple[int, ...]) -> NDArray: ...  # offset in elements
    def detach(self) -> NDArray: ...  # same storage, no tape
    def bits_to_numpy(self) -> np.ndarray: ...  # as asnumpy, but bfloat16 as its bits
    def copy_from_numpy(self, array: np.ndarray) -> None: ...  # waits for readers, overwrites
    def swap_storage(self, other: NDArray) -> None: ...  # take over its storage; same type
    def mark_variable(self, grad: NDArray | None, grad_req: str) -> None: ...
    def __dlpack__(
        self,
        stream: Any = None,
        *,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> Any: ...
    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **keywords: Any) -> Any: ...
    def __dlpack_device__(self) -> tuple[int, int]: ...

# `device`: its number, below 0 that of the thread.
def empty(shape: tuple[int, ...], dtype_code: int, device: int = -1) -> NDArray: ...
def zeros(shape: tuple[int, ...], dtype_code: int, device: int = -1) -> NDArray: ...
def from_numpy(array: np.ndarray, device: int = -1) -> NDArray: ...  # copies; a supported dtype
def from_dlpack(source: Any) -> NDArray: ...  # shares memory that may be written
def set_numpy_operand(maker: Any) -> None: ...  # called with an array and what is beside it
def set_numpy_single(maker: Any) -> None: ...  # called with shape and dtype, for one element
def set_numpy_bfloat16(maker: Any) -> None: ...  # called with the bits of bfloat16

FIRST_CPU: int

def device(name: str, number: int) -> int: ...  # raises where there is no such device
def device_kinds() -> list[tuple[str, int]]: ...  # names, and how many there are of each
def device_kind(index: int) -> str: ...
def is_host(index: int) -> bool: ...  # its memory is that of the processor
def register_device_kind(capsule: Any) -> None: ...  # "tigon.DeviceKind", see engine/device.h
def current_device() -> int: ...  # of this thread
def set_current_device(index: int) -> int: ...  # returns what was set before
def move(result: NDArray, device: int) -> NDArray: ...  # a copy, recorded as `result` is
def elsewhere(arguments: tuple[Any, ...], arrays: dict[str, Any]) -> str | None:
    """The first name without an array, or whose array is not where the arguments' first one is."""

def placed(array: NDArray, device: int) -> NDArray: ...  # itself, a view or a copy; unrecorded

class Program:
    """A compiled graph: launches over inputs, outputs, constants and one arena.

    `waves` run one after another; the launches of a wave are independent and run together.
    A launch is (address, buffers, slots, points, grain, scratch_bytes, operator, control):
    `buffers` is a sequence of (space, index), `slots` the parameter block as bytes (8 per entry),
    `points` the size of its space, `grain` the fewest points worth a chunk, `operator` a name for
    errors, `control` None or the loop or branch that it is, alone in its wave.

    `inputs` and `outputs` are (dtype code, shape). The first `visible` outputs are results, the
    rest residuals for the gradient. `cost` estimates microseconds on one core: below
    `inline_threshold` a ready program runs on the caller's thread, otherwise it is pushed.
    `may_alias[o]` lists the inputs whose memory output o may share when `out=` makes it so;
    so it may where `last_reads` of the input, the wave that reads it last, is less than `writes` of
    the output, the wave that writes it. For any other overlap the program writes to fresh memory
    and copies.
    `gradient`, if given, is called with the tuple of wanted inputs (bools) once for each distinct
    such tuple, on the first recorded call, and returns a `Gradient`, or None when nothing flows."""

    def __init__(
        self,
        name: str,
        inputs: Iterable[tuple[int, tuple[int, ...]]],
        outputs: Iterable[tuple[int, tuple[int, ...]]],
        visible: int,
        arena_bytes: int,
        constants: Iterable[bytes],
        waves: Iterable[Iterable[tuple[int, Iterable[tuple[int, int]], bytes, int, int, int, str]]],
        may_alias: Iterable[Iterable[int]] = (),
        cost: float = 0.0,
        gradient: Callable[[tuple[bool, ...]], Gradient | None] | None = None,
        keep_alive: Any = None,
        tag: Any = None,  # whatever the owner wants to find again (an operator call, a graph)
        last_reads: Iterable[int] = (),
        writes: Iterable[int] = (),
    ) -> None: ...
    tag: Any
    answers_truth: bool  # a comparison, whose zeros and ones are no numbers
    updates: bool  # what it is to write over stays as it was where an operand has failed
    name: str
    visible: int
    cost: float
    arena_bytes: int
    calls: int
    inputs: list[tuple[int, tuple[int, ...]]]
    launches: list[tuple[int, str, int, int]]  # (wave, operator, points, chunks)
    def timed(
        self, inputs: Iterable[NDArray], outputs: Iterable[NDArray], part: str
    ) -> list[float]: ...  # seconds of each "wave", "launch", or launch "alone" on one thread
    def __call__(
        self,
        inputs: Iterable[NDArray | float | int | bool],
        out: Iterable[NDArray | None] | None = None,
        donate: Iterable[int] = (),  # inputs given up: outputs may take their memory, use raises
    ) -> tuple[NDArray, ...]: ...  # the visible outputs; records on the tape as `invoke` does

class Control:
    """A loop over a program, or a choice of two: what the launch of such a node runs."""

    def __init__(
        self,
        kind: int,
        programs: Iterable[Program],
        counts: Iterable[int],
        reverse: bool,
        counted: bool,
        keyed: bool,
        numbers: Iterable[int],
        row_bytes: Iterable[int],
        state_bytes: Iterable[int],
        kept: Iterable[bool],
    ) -> None: ...

class View:
    """Instead of a Program: the result shares the first operand's storage. Offset in elements."""

    def __init__(
        self,
        offset: int,
        shape: tuple[int, ...],
        gradient: Callable[[tuple[bool, ...]], Gradient | None] | None = None,
        tag: Any = None,
    ) -> None: ...

class Gradient:
    """How cotangents flow through one recorded call.

    `saved` lists what the tape keeps: ("input", i) or ("output", j), residuals included. `compile`
    is called once, at the first backward, and returns the Program (or View) whose inputs are the
    cotangents of the outputs numbered `cotangents` followed by the saved arrays, and whose outputs
    are the cotangents of the inputs `targets`, in order. Cotangents nobody produced are zeros.
    `predict`, where there is one, makes the program of a backward that asks for prediction; it gets
    those in `also_saved` after the others. `leads`: of each result, the inputs that take part in
    it; if empty, all do. What takes no part in what backward began at is left alone. `rows`: of
    each target the output that says which rows its cotangent is, or -1; if empty, all are whole."""

    def __init__(
        self,
        saved: Iterable[tuple[str, int]],
        cotangents: Iterable[int],
        targets: Iterable[int],
        compile: Callable[[], Program],
        predict: Callable[[], Program] | None = None,
        also_saved: Iterable[tuple[str, int]] = (),
        leads: Iterable[Iterable[int]] = (),
        rows: Iterable[int] = (),
    ) -> None: ...

class RandomKey:
    """The key of a random operator, as an operand."""

    seed: int
    counter: int

def take_key(calls: int = 1) -> RandomKey: ...
def give_back_key(key: RandomKey, calls: int) -> None:
    """Undo `take_key`, which has given this, if nobody has taken a key since."""

def take_callback_key() -> tuple[int, int]:
    """Seed and counter of the stream of the next host callback."""

def seed_keys(seed: int) -> None: ...  # within a callback, its own stream
def key_state() -> tuple[int, int]: ...
def inner_key(seed: int, counter: int) -> tuple[int, int]:
    """The key of the stream that a loop or a branch draws from, given that of its call."""

def set_key_scope(begin: tuple[int, int, int] | None) -> tuple[int, int, int] | None:
    """From now on this thread draws from here: seed, counter, and number of callbacks so far; None:
    from the stream of all threads. Gives what was set before."""

class Sequence:
    """A call of compiled code, step by step, over a frame of arrays: those that it is given, then
    what steps make, in order. Steps are

    - ("run", program, inputs, over, donated): `inputs` are places in the frame, KEY_SLOT the key;
      output i is written over the array in place j for each (i, j) of `over`; visible outputs are
      added to the frame.
    - ("host", function, inputs, types): Python code on arrays, which returns arrays of these
      (dtype code, shape).
    - ("commit", pairs): the array in place j takes over what is in place i, for each (i, j).
    - ("prepare", prepared, inputs): what a `Prepared` makes of these arrays is added to the frame.

    `draws` random operators share the key. A call that raises has drawn nothing; what it has
    changed is up to the steps before: states are committed last."""

    def __init__(
        self,
        inputs: Iterable[tuple[int, tuple[int, ...]]],
        steps: Iterable[tuple[Any, ...]],
        results: Iterable[int],
        draws: int = 0,
        tag: Any = None,
    ) -> None: ...
    draws: int
    tag: Any
    programs: list[Program]
    def __call__(self, arrays: Iterable[NDArray]) -> tuple[NDArray, ...]: ...

KEY_SLOT: int
"""Among the inputs of a run: the random key of the call."""

class Paths:
    """A call whose way depends on values, as a tree of segments, each

        (cache or None, inputs, made, draws, decision, what comes next)

    where `decision` is "truth", "integer", "bits" or None. What comes next is (decided, pairs of an
    outcome and the number of a segment), or the number of an end: (results, states, form). Arrays
    are told by numbers: operands up from 0, what segments made down from -1. `form` is "bare",
    "tuple", "list" or a function of the results and the arrays among the arguments.
    `decides_only`: what calls draw is given back."""

    def __init__(
        self,
        segments: list[Any],
        ends: list[Any],
        operands: int,
        training: bool,
        decides_only: bool = False,
    ) -> None: ...
    def __call__(self, operands: list[NDArray], arguments: list[NDArray]) -> Any:
        """The result, or NotImplemented where an outcome is unknown: then nothing has happened."""

def commit(array: NDArray, made: NDArray) -> None:
    """From now on the array is what was made, as states are."""

class Prepared:
    """What a program makes of arrays that mostly stay: it runs again when one of them was written
    or is another, or when others may write them unseen. Sequences may share it."""

    def __init__(self, program: Program) -> None: ...
    runs: int
    """How often the program has run."""

class SequenceCache:
    """Sequences of one graph by mode, wanted gradients, inputs given up, and types. `make(arrays,
    training, wanted, donated)` answers a miss, where `wanted` says of which arrays gradients are
    recorded: None where nothing is. Of more than `most` the older half goes."""

    def __init__(
        self,
        make: Callable[
            [tuple[NDArray, ...], bool, tuple[bool, ...] | None, tuple[int, ...]], Sequence
        ],
        most: int,
    ) -> None: ...
    def __call__(
        self, arrays: Iterable[NDArray], training: bool | None, donated: Iterable[int]
    ) -> tuple[NDArray, ...]:
        """Run. `training`: None for the mode of the thread."""

    def find(
        self, arrays: Iterable[NDArray], training: bool | None, donated: Iterable[int]
    ) -> Sequence: ...
    sequences: list[Sequence]  # the oldest first

# ----------------------------------------------------------------- the imperative path

Handler = Callable[
    [int, int, Signature, tuple[int, ...]], Program | Sequence | View | Callable[..., Any]
]

def set_compile_handler(handler: Handler | None) -> Handler | None:
    """`handler(operator_id, attributes_id, signature, devices)` answers a miss of the signature
    cache; `devices` are those of the operands, each once.
    Returns the previous one. A View must serve one signature only."""

def set_slot_operator(
    slot: str, operator_id: int, attributes_id: int, reflected: bool = False
) -> tuple[int, int]:
    """`slot`: "add", "subtract", "multiply", "true_divide", "floor_divide", "remainder", "power",
    "matmul", "negative", "absolute", "eq", "ne", "lt", "le", "gt", "ge".
    Returns the previous pair; a negative id unsets.

    `scalar - array` calls the slot's operator with (scalar, array), unless one was set with
    `reflected=True`: that is called with (array, scalar)."""

def invoke(
    operator_id: int,
    attributes_id: int,
    operands: Iterable[NDArray | RandomKey | float | int | bool],
    out: Iterable[NDArray | None] | None = None,
) -> NDArray | tuple[NDArray, ...]:
    """Run one operator: signature lookup, allocation, run or push, tape. A single visible output
    comes bare. Scalars take the dtype of the first array."""

def set_output_caster(
    caster: Callable[[tuple[NDArray, ...], tuple[NDArray | None, ...]], Any] | None,
) -> None:
    """Outside of recording, results are written into arrays of other dtypes that were given for
    them by `caster` (results, arrays), unless it gives NotImplemented; None: they are refused."""

def set_trace_handlers(
    call: Callable[[int, int, tuple[Any, ...], bool], Any] | None,
    read: Callable[[NDArray], None] | None,
) -> tuple[Any, Any]:
    """While this thread traces Python: `call` answers its operator calls (operator, attributes,
    operands, whether out= was given), `read` is told of arrays whose values it reads."""

def call_kind(arguments: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """(count, training, recording, (shape, dtype code) of each array): what a call of a traced
    graph is looked up by. None unless all arguments are arrays that still have their memory."""

def nested_call_kind(
    arguments: tuple[Any, ...],
    freeze: Callable[[Any], Any],
    freeze_attributes: Callable[[Any], Any],
) -> tuple[tuple[Any, ...], tuple[NDArray, ...]] | None:
    """(kind, arrays) of arguments in lists, tuples and dictionaries; `freeze` makes other values
    hashable, `freeze_attributes` what containers of derived classes hold besides. None where an
    array has given up its memory."""

def set_epoch(now: int) -> None:
    """How often blocks and parameters were changed so far: shortcuts of an earlier epoch end."""

class Shortcuts:
    """Sequences of traced code by kind of call: modes, types of the arguments, wanted gradients."""

    def __init__(self) -> None: ...
    def add(
        self,
        sequence: Sequence,
        arrays: list[NDArray | None],
        inputs: Iterable[tuple[int, int]],
        arguments: tuple[NDArray, ...],
        epoch: int,
        guards: Guards,
        form: str,
    ) -> None:
        """From now on, calls of this kind in the present mode run `sequence` on `arrays`, with
        argument `j` at place `i` for each (i, j) of `inputs`; as long as it is this epoch and the
        guards hold. `form`: "bare" for one array, "tuple" or "list" for all results."""

class Guards:
    """Values that traced code read, and where. Each method notes one place and what is there now,
    and returns its number; immutable values are compared by value, others by identity."""

    def __init__(self) -> None: ...
    def name(self, space: dict[str, Any], name: str) -> int:
        """A name of a module or an attribute of an instance. All names of one dictionary are one
        guard, which costs as good as nothing while the dictionary is not changed at all."""

    def differing_name(self, number: int) -> str | None:
        """Of a guard of names, the first that is another value now."""

    def object(self, owner: Any) -> int:
        """The class of an object, and which dictionary holds its attributes."""

    def cell(self, cell: Any) -> int: ...
    def sequence(self, sequence: list[Any] | tuple[Any, ...]) -> int: ...
    def mapping(self, mapping: dict[Any, Any]) -> int: ...
    def attribute(self, owner: Any, name: str) -> int:
        """What `getattr` gives, for attributes that run no code of the user's."""

    def function(self, function: Any) -> int:
        """The code and the defaults of a function."""

    def type(self, type: type, names: tuple[str, ...], values: tuple[Any, ...]) -> int:
        """What the names mean in a class and its bases; looked up when its version changes."""

    def check(self, function: Callable[[], bool]) -> int: ...
    def begin_with(self, before: Guards) -> None:
        """Take over those of an earlier trace, which stay as they are."""

    def hold(self) -> bool: ...
    def failed(self) -> int:
        """The number of the first that does not hold, or -1."""

    def __len__(self) -> int: ...

MISSING: object
"""What a guard or `type_lookup` finds where there is nothing."""

def instance_dict(object: Any) -> dict[str, Any] | None:
    """The attributes of an instance, without running its code."""

def type_lookup(type: type, name: str) -> Any:
    """What a name means in a class and its bases, as it lies there, or MISSING."""

def set_watcher(
    classify: Callable[[Any], bool],
    entered: Callable[[Any], None],
    called: Callable[[Any, Any], None],
    functions: list[Any],
) -> None:
    """Once: which code is watched, and who is told of its frames and of calls of the functions."""

def watch(on: bool) -> None:
    """Whether frames of this thread are shown from now on; a profiler rests meanwhile."""

def suspend() -> bool:
    """Show no frames until `resume`, where that is cheaper; whether it does."""

def resume() -> None: ...
def same(a: Any, b: Any) -> bool:
    """Whether two objects are one, or immutable and equal to the bit."""

class ShortCall:
    """A base of classes whose calls take a shortcut from `self._cached_shortcuts` where there is
    one, else `self._long_call`. Errors on the short way are given to `self._name_in`."""

    def __call__(self, *args: Any) -> Any: ...

def clear_signature_cache() -> None: ...

# ------------------------------------------------------------------------------- the tape

def set_recording(on: bool) -> bool: ...  # thread-local; returns the previous value
def set_training(on: bool) -> bool: ...
def is_recording() -> bool: ...
def is_training() -> bool: ...
def set_sum_operator(
    operator_id: int, attributes_id: int
) -> tuple[int, int]: ...  # adds two cotangents
def set_rows_operators(
    join: int, join_attributes: int, add: int, add_attributes: int
) -> None: ...  # join along the first axis; (array, numbers of rows, rows) -> their sum
def set_rows_type(type: type) -> None: ...  # of gradients by rows
def write_rows(target: NDArray, rows: NDArray, values: NDArray) -> None:
    """Overwrite rows of `target`, by their numbers (int64), in place and in the engine's order.
    Nothing else of it is touched. On the host only."""

def backward(
    heads: Iterable[NDArray],
    head_grads: Iterable[NDArray | None],
    retain_graph: bool,
    variables: Iterable[NDArray] | None = None,
    predict: bool = False,
) -> list[NDArray] | None:
    """Native, iterative reverse walk. Without `variables` it fills attached gradients as their
    grad_req says; with them it returns their cotangents and touches no attached gradient.
    A missing head gradient is ones. `predict`: as if recorded in prediction.
    Raises if a saved array was overwritten since."""

def record_custom(
    inputs: Iterable[NDArray],
    outputs: Iterable[NDArray],
    backward: Callable[..., Iterable[NDArray | None]],
) -> None:
    """Put a Python function on the tape: called with the outputs' cotangents."""

class TapeNode:
    """Read-only face of a recorded call, for differentiating backward itself (create_graph)."""

    tag: Any  # the Program's or View's tag
    inputs: list[NDArray | float]  # with their own tape entries; a living variable is itself
    # (an input that `Gradient.saved` does not list holds zeros: only type and history are kept)
    output_count: int
    output_types: list[tuple[int, tuple[int, ...]]]
    sequence: int  # grows with time: reverse order of it is a valid reverse walk
    consumed: bool  # used up by a backward without retain_graph
    def saved_output(self, index: int) -> NDArray | None: ...  # None unless `saved` lists it
    # equal and hashed by the recorded call

def tape_node(array: NDArray) -> tuple[TapeNode, int] | None: ...

# --------------------------------------------------------------------------- object code

class ObjectCompiler:
    """Modules of LLVM's text, compiled by threads that live no longer than this object.

    `functions`: addresses of llvmlite's C functions create_context, dispose_context, parse, verify
    (0: do not), emit, dispose_module, buffer_start, buffer_size, dispose_buffer, dispose_string.
    `machines`: addresses of target machines that nobody else uses, one for each thread that may
    work, the caller of `finish` included.
    """
    def __init__(self, functions: dict[str, int], machines: Iterable[int]) -> None: ...
    def add(self, text: str) -> None: ...  # begins at once, where a machine is free
    def finish(self) -> list[bytes | str]:
        """Helps. For each text in order its object code, or as `str` why it was refused."""

PROGRAM_VERSION: str
"""A digest of the sources that say what a program is made of and how kernels are called."""

def load_code(objects: Iterable[bytes], elsewhere: dict[str, int]) -> dict[str, int]:
    """Object code as one piece of code, for the rest of the process: the addresses of what it
    defines. `elsewhere`: addresses of what it calls and does not define."""

def link_anywhere(objects: Iterable[bytes]) -> tuple[bytes, dict[str, int], dict[str, int]]:
    """The same as bytes that run wherever a file of them is mapped; where in them things are that
    they define, and the ways to what they call in the C library."""

def map_code(path: str, offset: int, size: int, elsewhere: dict[str, int]) -> int:
    """A part of a file as code, for the rest of the process: where it lies. `elsewhere` as
    `link_anywhere` gives it."""

def processor_features() -> list[str]:
    """What the processor has of the instructions that levels of its architecture are made of, by
    LLVM's names; none of other architectures than x86-64."""

# ------------------------------------------------------------------------------ routines

def routine_address(name: str, dtype_code: int) -> int: ...  # a kernel over a batch
def routine_scratch_bytes(name: str, dtype_code: int, numbers: Iterable[int]) -> int:
    """Of each call of the kernel; `numbers` are its slots without the first, the points."""

def routine_needs_library(name: str) -> bool: ...  # LAPACK
def set_library_function(name: str, address: int) -> bool:
    """Of BLAS or LAPACK, by its name there ("dpotrf"); False for what no kernel calls. All that a
    kernel calls must be there before it runs."""

def set_library_threads(count: int, set_count: int) -> None:
    """Addresses of `int count()` and `void set_count(int)`: kernels run with one thread of it."""

# ------------------------------------------------------------------- engine and counters

def push(
    function: Callable[[], None],
    reads: Iterable[NDArray],
    writes: Iterable[NDArray],
    name: str,
) -> None:
    """Run a Python callable on the engine when its arrays allow (host callback)."""

def in_callback() -> bool: ...  # whether this thread runs such a callable
def lend(arrays: Iterable[NDArray | None]) -> list[NDArray | None]:
    """Within a callback: arrays on the memory of these, each of a storage of its own."""

def take_back(lent: list[NDArray | None]) -> None:
    """What others than this list refer to gets a copy, and is its own from now on."""

def given_outputs(
    name: str, out: Any, types: Iterable[tuple[int, tuple[int, ...]]], device: int
) -> list[NDArray | None]:
    """The arrays of `out=`. Raises where a call on this device cannot write results of these (dtype
    codes, shapes) there."""

def hand_over(made: list[NDArray], targets: list[NDArray]) -> None:
    """The values of `made` become those of the targets: in its memory where only this list refers
    to it, else as a copy."""

def set_callback_seconds(seconds: float) -> None: ...  # TIGON_CALLBACK_SECONDS
def callback_seconds() -> float: ...  # how long a wait for one may take
def callbacks_given_up() -> int: ...  # how many waits took longer

class Deadline:
    """Ends the process with a message, unless it is cancelled in time; needs no lock."""

    def __init__(self, seconds: float, message: str) -> None: ...
    def cancel(self) -> None: ...

def waitall() -> None: ...  # for what was pushed before; raises the first error nobody has seen
def raise_undone(arrays: Iterable[Any]) -> None:
    """Raises the first error that left one of these at an older value and that nobody has seen."""

def set_inline_threshold(microseconds: float) -> None: ...
def inline_threshold() -> float: ...
def set_naive(on: bool) -> None: ...  # TIGON_ENGINE=naive at import
def set_num_threads(count: int) -> None: ...
def num_threads() -> int: ...
def stats() -> dict[str, int]:
    """native_calls, imperative_operators, signature_hits, signature_misses, signatures and types
    remembered, bytes_now, bytes_peak (logical bytes of live storages and arenas), pool_bytes,
    pool_peak, pool_free, pool_largest_free, pool_rounding, pool_fresh_blocks, pushed, inlined,
    tape_nodes."""

def reset_peak() -> None: ...
def trim() -> None: ...  # return cached blocks to the system
def take_over(state: NDArray, made: NDArray) -> None: ...  # `state` has the value of `made`
def give_up(array: NDArray) -> None: ...  # what donation does to an array
def set_most_signatures(count: int) -> None: ...  # 8192: as many the signature cache may hold
def turn_pool() -> None: ...  # return those that nobody needed since the last turn
def set_notice_teller(teller: Callable[[int], object]) -> None:
    """What is called, by the main thread, with the number of each notice that a program gives."""

def forget_notices() -> None:
    """Each notice is given once in a process; from now on, again."""

def set_error_types(user: type, index: type, timeout: type) -> None:
    """TigonError, TigonIndexError, TigonTimeoutError."""

# Images: arrays (height, width, channels) of bytes or float32, channels side by side.
# What a decoder shows as an "arrow_array" of four bytes a pixel, without the fourth.
def take_pixels(capsule: Any, out: np.ndarray, reversed: bool = False) -> None: ...

# out[channel, row, column] = table[channel, image[row, column, channel]]; table (channels, 256), of
# 1 to 8 bytes an entry
def look_up_bytes(image: np.ndarray, table: np.ndarray, out: np.ndarray) -> None: ...

# rows, columns: the first old number of each new one, int64, and weights (taps, size), float32
def resample_image(
    image: np.ndarray,
    rows: tuple[np.ndarray, np.ndarray] | None,
    columns: tuple[np.ndarray, np.ndarray] | None,
    out: np.ndarray,
) -> None: ...
def pick_pixels(
    image: np.ndarray, rows: np.ndarray, columns: np.ndarray, out: np.ndarray
) -> None: ...

class profile:
    """A submodule: what each thread did, and when, while a profile is taken. Kinds of spans are
    those of `tigon.runtime.profiling`; times are nanoseconds of the steady clock."""

    class BlockSpan:
        """The call of a block that is written in Python; kernels meanwhile belong to it."""

        def __init__(self, name: str) -> None: ...
        def close(self) -> None: ...

    @staticmethod
    def start(kinds: int, most: int) -> None:
        """Record spans of these kinds, a bit each, so many at most. What was recorded before is
        forgotten."""

    @staticmethod
    def stop() -> None: ...
    @staticmethod
    def pause() -> None: ...
    @staticmethod
    def resume() -> None: ...
    @staticmethod
    def is_running() -> bool: ...
    @staticmethod
    def session() -> int:
        """How often `start` was called."""

    @staticmethod
    def take() -> list[tuple[int, int, str, list[str], int, bytes, int]]:
        """By thread: its number, the system's, its title, names, how many events came before those
        that are here, these as `csrc/profile/profile.h` lays them out, and how many were left
        out."""

    @staticmethod
    def forget(thread: int, until: int) -> None:
        """Those up to this one, counted from the beginning of the session, were put down."""

    @staticmethod
    def set_thread_title(title: str) -> None: ...
    @staticmethod
    def now() -> int: ...
    @staticmethod
    def begin(kind: int, name: str) -> int:
        """Open a span of this thread; what `end` takes, -1 where none is opened."""

    @staticmethod
    def end(span: int) -> None:
        """End it, and what is open inside of it."""

    @staticmethod
    def show_calls(on: bool) -> None:
        """Whether calls of Python functions by this thread are spans."""

    @staticmethod
    def set_classify(function: Callable[[Any], tuple[int, str]]) -> None:
        """Once: whose a function is, by its code, and its name."""

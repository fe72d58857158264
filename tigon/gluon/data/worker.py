"""A process that loads batches for another one: it is told which, and answers where they are."""

from __future__ import annotations

import mmap
import os
import pickle
import random
import select
import signal
import struct
import traceback
from io import BytesIO
from multiprocessing import spawn
from multiprocessing.connection import Connection
from threading import Thread
from typing import Any

import numpy as np

from tigon.as_mxnet import install_as_mxnet
from tigon.base import TigonError
from tigon.gluon.data import shared
from tigon.gluon.data.loading import Order, load

ALIGNED = 64
HEAD = struct.Struct("<Q")
"""The length of the table that begins the file of a dataset."""

MAIN = ("init_main_from_name", "init_main_from_path")
"""How `multiprocessing` names what the program began with."""

BEGINNING = (-1, -1)
"""In the place of epoch and batch: what is told once, before the first one."""

GUARD = (
    "put what it does under `if __name__ == '__main__':`, move the dataset into a module, or pass "
    "thread_pool=True"
)

is_importing_main = False
"""While the program itself is imported in a worker, which needs what it defines."""


def main(connection: int, memory: int, program: int) -> None:
    """Until the other process closes the connection. Arguments are descriptors."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pipe = Connection(connection)
    Thread(target=_end_with, args=(connection,), daemon=True).start()
    shared.use(shared.Arena(memory))
    try:
        dataset, batchify = _program(program)
    except BaseException as error:
        pipe.send_bytes(_failure(*BEGINNING, _about_main(error) if is_importing_main else error))
        return
    try:
        pipe.send_bytes(pickle.dumps((*BEGINNING, None, None)))
        _serve(pipe, dataset, batchify)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass


def _end_with(connection: int) -> None:
    """When the other process is gone, so is this one, whatever it is doing."""
    poll = select.poll()
    poll.register(connection, 0)
    while not any(event & (select.POLLHUP | select.POLLERR) for _, event in poll.poll()):
        pass
    os._exit(0)


def _about_main(error: BaseException) -> TigonError:
    if isinstance(error, TigonError) and GUARD in str(error):
        return error
    return TigonError(
        "DataLoader: worker processes import this program for what it defines; that ended with "
        f"{type(error).__name__}: {error}; {GUARD}"
    )


def _program(descriptor: int) -> tuple[Any, Any]:
    """What is loaded and how, from a file that all workers have."""
    memory = np.frombuffer(mmap.mmap(descriptor, 0, access=mmap.ACCESS_COPY), np.uint8)
    os.close(descriptor)
    (size,) = HEAD.unpack(memory[: HEAD.size].tobytes())
    preparation, spans = pickle.loads(memory[HEAD.size : HEAD.size + size].tobytes())
    if preparation["as_mxnet"]:
        install_as_mxnet()
    spawn.prepare({name: value for name, value in preparation.items() if name not in MAIN})
    parts = memory[HEAD.size + size + -(HEAD.size + size) % ALIGNED :]
    pickled, *buffers = (parts[begin:end] for begin, end in spans)
    return _Unpickler(preparation, pickled.tobytes(), buffers).load()


class _Unpickler(pickle.Unpickler):
    """Imports the program itself only where something of it is asked for: it may do more than
    define things."""

    def __init__(self, preparation: dict[str, Any], pickled: bytes, buffers: list[Any]) -> None:
        super().__init__(BytesIO(pickled), buffers=buffers)
        self._main = {name: preparation[name] for name in MAIN if name in preparation}

    def find_class(self, module: str, name: str) -> Any:
        if module == "__main__" and self._main:
            global is_importing_main
            is_importing_main = True
            spawn.prepare(self._main)
            is_importing_main = False
            self._main = {}
        try:
            return super().find_class(module, name)
        except AttributeError:
            if module != "__main__":
                raise
            raise TigonError(
                f"DataLoader: {name} is defined in the program that was started, and that is no "
                "file that worker processes could import; put it into a module, or pass "
                "thread_pool=True"
            ) from None


def _serve(pipe: Connection, dataset: Any, batchify: Any) -> None:
    arena = shared._arena
    assert arena is not None
    while True:
        epoch, order, released = pickle.loads(pipe.recv_bytes())
        arena.release(released)
        arena.begin()
        order = Order(*order)
        _seed(order)
        try:
            message = arena.pack(load(dataset, batchify, order))
        except BaseException as error:
            pipe.send_bytes(_failure(epoch, order.number, error))
            del error
        else:
            pipe.send_bytes(pickle.dumps((epoch, order.number, tuple(message), None)))
            del message


def _seed(order: Order) -> None:
    """Python's and numpy's generators, too, for code that draws from these."""
    number = (order.stream + order.first * 0x9E3779B97F4A7C15) % (1 << 64)
    random.seed(number)
    np.random.seed([number & 0xFFFFFFFF, number >> 32, 1])  # both are Mersenne twisters


def _failure(epoch: int, number: int, error: BaseException) -> bytes:
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    try:
        pickled = pickle.dumps(error)
        pickle.loads(pickled)
    except Exception:  # errors of other libraries need more arguments than they are pickled with
        pickled = pickle.dumps(TigonError(f"{type(error).__name__}: {error}"))
    return pickle.dumps((epoch, number, None, (pickled, text)))

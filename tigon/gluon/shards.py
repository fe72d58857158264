"""The state of several ranks: who keeps what of it, in memory and in files.

What is the same on all ranks (`whole`: values of weights) is written by one of them, each its even
share. Of what is divided among them (`part`: states of the optimizer by their owners) and of what
each has for itself (`own`: random numbers, metrics, places in the data) every rank writes what it
has. In memory each also keeps the two latter of the rank after it: so one that is lost takes
nothing with it that is not elsewhere, unless the one before it is lost, too.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from tigon.base import TigonError
from tigon.base.files import write_file
from tigon.distributed.agreement import Signature
from tigon.distributed.inorder import at_once
from tigon.distributed.world import Ranks, World
from tigon.export import params

Arrays = dict[str, np.ndarray]
CONTENTS, DIGEST = "contents", "digest"
_NAME = re.compile(r"checkpoint-(\d{10})\.params")
_SHARD = re.compile(r"checkpoint-(\d{10})\.shard-\d+-of-\d+-[0-9a-f]{8}\.params")


class Snapshot(NamedTuple):
    """The state of one rank after a step."""

    contents: dict[str, Any]
    """Step, progress, kinds of parts, number of ranks, axes of what is cut among them."""
    rank: int
    whole: Arrays
    part: Arrays
    own: Arrays
    beside: bytes
    """`part` and `own` of the rank after it; empty: not known."""

    @property
    def step(self) -> int:
        return int(self.contents["step"])

    @property
    def ranks(self) -> int:
        return int(self.contents.get("ranks", 1))

    def alone(self) -> Arrays:
        """What no other rank has."""
        return self.part | {f"rank/{self.rank}/{key}": array for key, array in self.own.items()}

    def shard(self, writers: Sequence[int]) -> Arrays:
        """What this one writes among these, for those that are not among them, too."""
        arrays = {key: self.whole[key] for key in _share(self.whole, writers, self.rank)}
        arrays |= self.alone()
        after = (self.rank + 1) % self.ranks
        if after not in writers and self.beside:
            arrays |= params.read(self.beside, "what is kept of another rank")  # type: ignore[operator]
        return arrays

    def held(self) -> dict[str, Any]:
        """What others have to know of it."""
        return {
            "step": self.step,
            "rank": self.rank,
            "ranks": self.ranks,
            "has_beside": bool(self.beside),
            "is_divided": bool(self.part),
            "is_cut": bool(self.contents.get("cut")),
        }


def _share(arrays: Arrays, writers: Sequence[int], rank: int) -> list[str]:
    """The names of one writer's even share, by bytes."""
    load = dict.fromkeys(writers, 0)
    mine = []
    for key in sorted(arrays, key=lambda key: (-arrays[key].nbytes, key)):
        least = min(load, key=lambda writer: (load[writer], writer))
        load[least] += arrays[key].nbytes
        if least == rank:
            mine.append(key)
    return mine


Key = tuple[int, int]


def key_of(held: Mapping[str, Any]) -> Key:
    """What tells states apart, the newest last: ranks only become fewer, and the same step may be
    held as it was among more of them."""
    return held["step"], -held["ranks"]


def newest(held: Mapping[int, Any]) -> dict[int, dict[str, Any]] | None:
    """By rank, what these ranks hold of the last step of which they have everything together.

    >>> one = {"step": 3, "ranks": 3, "has_beside": True, "is_divided": True}
    >>> newest({0: [one | {"rank": 0}], 1: [one | {"rank": 2}]}) is not None  # 0 has 1's
    True
    >>> newest({0: [one | {"rank": 1}]}) is None  # nobody has 0's
    True
    """
    each = {rank: {key_of(one): one for one in of_rank or ()} for rank, of_rank in held.items()}
    keys = set.intersection(*(set(of_rank) for of_rank in each.values())) if each else set()
    for key in sorted(keys, reverse=True):
        found = {rank: of_rank[key] for rank, of_rank in each.items()}
        here = {one["rank"] for one in found.values()}
        count = next(iter(found.values()))["ranks"]
        beside = {(one["rank"] + 1) % count for one in found.values() if one["has_beside"]}
        divided = any(one["is_divided"] for one in found.values())
        if not divided or here | beside >= set(range(count)):
            return found
    return None


# ------------------------------------------------------------------------------------ files


def head_path(folder: str, step: int) -> str:
    return os.path.join(folder, f"checkpoint-{step:010d}.params")


def steps_in(folder: str) -> list[int]:
    """Of the checkpoints that are complete."""
    return sorted(int(found[1]) for found in map(_NAME.fullmatch, _names(folder)) if found)


def _names(folder: str) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def write_shard(folder: str, snapshot: Snapshot, writers: Sequence[int]) -> dict[str, Any]:
    """Write what this rank writes; what the head of the checkpoint says of it. The name has a part
    of the digest: what another complete checkpoint of this step holds is not overwritten."""
    arrays = snapshot.shard(writers)
    digest = arrays[DIGEST] = digest_of(arrays)
    told = digest.tobytes().hex()
    name = (
        f"checkpoint-{snapshot.step:010d}.shard-{snapshot.rank}-of-{snapshot.ranks}-"
        f"{told[:8]}.params"
    )
    os.makedirs(folder, exist_ok=True)
    write_file(os.path.join(folder, name), params.write(arrays))
    return {"name": name, "digest": told}


def write_head(
    folder: str, contents: Mapping[str, Any], shards: Sequence[Mapping[str, Any]], keep: int
) -> str:
    """The file that makes the checkpoint one, once all shards are there; others go."""
    arrays = {CONTENTS: as_bytes({**contents, "shards": list(shards)})}
    arrays[DIGEST] = digest_of(arrays)
    path = head_path(folder, contents["step"])
    write_file(path, params.write(arrays))
    tidy(folder, keep, contents["step"], {shard["name"] for shard in shards})
    return path


def tidy(folder: str, keep: int, step: int, shards: set[str]) -> None:
    """Keep the newest checkpoints, and no shard that belongs to none."""
    for old in steps_in(folder)[:-keep]:
        if old != step:
            os.unlink(head_path(folder, old))
    left = set(steps_in(folder))
    for name in _names(folder):
        found = _SHARD.fullmatch(name)
        if not found:
            continue
        of_step = int(found[1])
        if of_step not in left or (of_step == step and name not in shards):
            os.unlink(os.path.join(folder, name))


def read(folder: str, step: int) -> tuple[dict[str, Any], Arrays]:
    """What a checkpoint is of, and the arrays of all its files, each of them verified."""
    path = head_path(folder, step)
    arrays = read_file(path)
    if CONTENTS not in arrays:
        raise TigonError(f"Checkpoint.resume: {path} holds arrays that are no checkpoint")
    contents = as_json(arrays.pop(CONTENTS))
    for shard in contents.get("shards", ()):
        own = os.path.join(folder, shard["name"])
        try:
            arrays |= read_file(own, shard["digest"])
        except FileNotFoundError as error:
            raise TigonError(
                f"Checkpoint.resume: {own} is missing: {path} is made of it"
            ) from error
    return contents, arrays


def read_file(path: str, digest: str | None = None) -> Arrays:
    with open(path, "rb") as file:
        content = file.read()
    told = f"Checkpoint.resume: {path} is damaged"
    try:
        arrays = params.read(content, path)
    except TigonError as error:
        raise TigonError(f"{told}: {error}") from error
    if not isinstance(arrays, dict) or DIGEST not in arrays:
        raise TigonError(
            f"{told}: its content is not what was written"
            if digest
            else f"Checkpoint.resume: {path} holds arrays that are no checkpoint"
        )
    found = arrays.pop(DIGEST)
    if not np.array_equal(found, digest_of(arrays)) or digest not in (None, found.tobytes().hex()):
        raise TigonError(f"{told}: its content is not what was written")
    return arrays


def digest_of(arrays: Arrays) -> np.ndarray:
    found = hashlib.sha256()
    for name, array in sorted(arrays.items()):
        found.update(f"{name}\n{array.dtype.str}{array.shape}\n".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return np.frombuffer(found.digest(), np.uint8)


def as_bytes(what: Any) -> np.ndarray:
    return np.frombuffer(json.dumps(what).encode(), np.uint8)


def as_json(array: np.ndarray) -> Any:
    return json.loads(array.tobytes())


# --------------------------------------------------------------------------- among all ranks


def save(folder: str, snapshot: Snapshot, keep: int) -> str:
    """Each writes its shard, then rank 0 the head, and all return when it is there."""
    name = f"Checkpoint.save of step {snapshot.step}"
    parts = (json.dumps([snapshot.contents["parts"], snapshot.contents["progress"]])[:200],)

    writers = list(range(snapshot.ranks))
    told = agreed(Signature(name, parts), lambda: write_shard(folder, snapshot, writers))
    return agreed(
        Signature(name, ("its head",)),
        lambda: write_head(folder, snapshot.contents, told, keep) if snapshot.rank == 0 else "",
    )[0]


def agreed(signature: Signature, function: Callable[[], Any]) -> list[Any]:
    """What a function gives on every rank; where it raises on one, all raise."""
    try:
        own = {"gave": function()}
    except (OSError, TigonError) as error:
        own = {"error": f"{type(error).__name__}: {error}"}
    content = json.dumps(own).encode()
    every = at_once(lambda ranks: ranks.gather(signature, content), signature.name)
    told = [json.loads(one) for one in every]
    for rank, one in enumerate(told):
        if "error" in one:
            raise TigonError(f"{signature.name}: rank {rank}: {one['error']}")
    return [one["gave"] for one in told]


def remember(
    snapshot: Snapshot, take: Callable[[Snapshot], None], drop: Callable[[], None]
) -> None:
    """Let all ranks hold it, each with what the one after it alone has. `take`: it is here;
    `drop`: it is everywhere, and what was held before is not needed any more."""

    def run(ranks: World) -> None:
        held = snapshot
        take(held)
        if isinstance(ranks, Ranks):
            content = np.frombuffer(params.write(snapshot.alone()), np.uint8)
            held = snapshot._replace(beside=ranks.messages.of_the_next(content).tobytes())
            take(held)
        ranks.check(Signature("Checkpoint.remember", (f"step {snapshot.step}",)))
        drop()

    at_once(run, "Checkpoint.remember")


def together(snapshot: Snapshot, here: Sequence[int], name: str) -> Arrays:
    """What is divided, of all ranks that there were: of those that are here (by their numbers
    then) and, from those before them, of the others."""
    arrays = dict(snapshot.part)
    after = (snapshot.rank + 1) % snapshot.ranks
    if after not in here and snapshot.beside:
        found = params.read(snapshot.beside, "what is kept of another rank")
        arrays |= {key: one for key, one in found.items() if not key.startswith("rank/")}  # type: ignore[union-attr]
    content = params.write(arrays)
    every = at_once(lambda ranks: ranks.gather(Signature(name, ()), content), name)
    merged: Arrays = {}
    for one in every:
        merged |= params.read(one, "another rank")  # type: ignore[operator]
    return merged


def of_rank(
    arrays: Arrays, contents: Mapping[str, Any], rank: int, size: int, kind: Callable[[str], str]
) -> Arrays:
    """Of what all ranks wrote what this one goes on with. Where there were as many, it is what it
    had. Where there were others, metrics begin anew, and so do random numbers of ranks that were
    not there; the rest such a rank takes from rank 0. `kind`: of the part that has a name."""
    ranks = contents.get("ranks", 1)
    donor = rank if rank < ranks else 0
    if "ranks" in contents:
        found = {key: array for key, array in arrays.items() if not key.startswith("rank/")}
        prefix = f"rank/{donor}/"
        own = {k[len(prefix) :]: v for k, v in arrays.items() if k.startswith(prefix)}
    else:
        found, own = {}, dict(arrays)
    if ranks != size:
        for key, axis in contents.get("cut", {}).items():
            several = "ranks" in contents
            pieces = [arrays[f"rank/{one}/{key}" if several else key] for one in range(ranks)]
            own[key] = np.split(np.concatenate(pieces, axis), size, axis)[rank]
        own = {
            key: array
            for key, array in own.items()
            if kind(key) != "metric" and (donor == rank or kind(key) != "random")
        }
    return found | own


def sorted_out(arrays: Arrays, share: Callable[[str], str]) -> tuple[Arrays, Arrays, Arrays]:
    """`whole`, `part` and `own` among them."""
    found: dict[str, Arrays] = {"whole": {}, "part": {}, "own": {}}
    for key, array in arrays.items():
        found[share(key)][key] = array
    return found["whole"], found["part"], found["own"]

"""How a module moves its parameters, by an updater or a store."""

from __future__ import annotations

from typing import Any

from tigon.kvstore import KVStore


def update_params(module: Any) -> None:
    """Move the parameters that have gradients."""
    group = module._exec_group
    trained = [
        (number, name, weights, grads)
        for number, (name, weights, grads) in enumerate(
            zip(module._param_names, group.param_arrays, group.gradients(), strict=True)
        )
        if grads[0] is not None
    ]
    if not trained:
        return
    numbers, names, weights, grads = (list(part) for part in zip(*trained, strict=True))
    store, contexts = module._kvstore, len(group.execs)
    targets = weights if module._update_on_kvstore else grads
    if isinstance(store, KVStore):
        store.push(names, grads)
        store.pull(names, targets)
    elif store is not None:
        for name, own, target in zip(names, grads, targets, strict=True):
            store.pushpull(name, own, out=target)
    if module._update_on_kvstore:
        return
    for context in range(contexts):
        indices = [number * contexts + context for number in numbers]
        updater = module._updater
        updater(indices, [own[context] for own in grads], [own[context] for own in weights])

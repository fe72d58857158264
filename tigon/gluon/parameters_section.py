"""The Parameters section of Gluon's classes: what they share is said once."""

from __future__ import annotations

import inspect

_WORDS = {
    "activation": "the name of a function that is applied to the result, such as 'relu'",
    "alpha": "the slope, or the limit, for negative numbers",
    "alpha_initializer": "how the learned slopes begin; 0.25 by default",
    "axes": "axes along which one decision is shared",
    "axis": "the axis of the channels, or of what is normalized or compared",
    "batch_axis": "the axis of the samples: the others are averaged over",
    "beta": "a factor within the sigmoid",
    "beta_initializer": "how what is added begins",
    "bias_initializer": "how the bias begins",
    "ceil_mode": "whether a last window that is not full counts",
    "center": "whether beta is learned and added",
    "channels": "how many channels come out",
    "compute_full": "whether Stirling's term for the label is added",
    "count_include_pad": "whether padding counts in a mean",
    "dilation": "the distance of what a window reads, along each axis",
    "dtype": "the element type of the parameters",
    "epsilon": "what is added to a variance",
    "flatten": "whether all axes but the first are one",
    "from_logits": "whether predictions are logarithms of probabilities already",
    "from_sigmoid": "whether predictions are probabilities already",
    "function": "a function, or the name of an operator",
    "gamma_initializer": "how the factors begin",
    "groups": "how many groups of channels are convolved apart",
    "in_channels": "how many channels come in; 0: the first call tells",
    "in_units": "how many numbers come in, per sample; 0: the first call tells",
    "input_dim": "how many rows the table has",
    "inputs": "the variables of the symbol that are given at each call",
    "kernel_size": "the extents of the window; one number stands for all axes",
    "label_format": "'signed' (-1 and 1) or 'binary' (0 and 1)",
    "layout": "the order of the axes: channels second or last",
    "margin": "the distance from which on nothing is lost",
    "momentum": "how much of the running statistics a training step keeps",
    "num_groups": "how many groups of channels are normalized apart",
    "output_dim": "how many numbers a row has",
    "output_padding": "what is added to one side of the result, along each axis",
    "outputs": "the symbol, or a list of them",
    "padding": "what is added on both sides of the data, along each axis",
    "params": "another block's `params`, to share its parameters",
    "pool_size": "the extents of the window; one number stands for all axes",
    "prefix": "what the names of its parameters begin with",
    "rate": "the probability with which an element is zeroed",
    "rho": "the distance from which on the loss is linear",
    "running_mean_initializer": "how the running mean begins",
    "running_variance_initializer": "how the running variance begins",
    "scale": "whether gamma is learned and multiplied",
    "smoothing_parameter": "the probability that the others have together",
    "sparse_grad": "accepted as False: gradients are dense",
    "sparse_label": "whether labels are numbers of classes, and not distributions",
    "strides": "the steps of the window, along each axis; None: its extents",
    "units": "how many numbers come out, per sample",
    "use_bias": "whether a bias is learned and added",
    "use_global_stats": "whether running statistics are used in training, too",
    "weight": "a factor on the loss",
    "weight_initializer": "how the weight begins; None: as `initialize` says",
}


def describe(*kinds: type, **words: str) -> None:
    """Add the section to the documentation of these classes. `words` are for them alone."""
    for kind in dict.fromkeys(kinds):
        lines = [inspect.cleandoc(kind.__doc__ or ""), "", "Parameters", "----------"]
        for parameter in inspect.signature(kind).parameters.values():
            if parameter.kind is parameter.VAR_KEYWORD:
                continue
            default = parameter.default
            stars = "*" * (parameter.kind is parameter.VAR_POSITIONAL)
            shown = "" if default is parameter.empty else f", {default!r} by default"
            said = words.get(parameter.name) or _WORDS[parameter.name]
            lines.append(f"{stars}{parameter.name}{shown}\n    {said}")
        kind.__doc__ = "\n".join(lines)

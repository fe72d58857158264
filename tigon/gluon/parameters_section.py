"""The Parameters section of Gluon's classes: what they share is said once."""

from __future__ import annotations

import inspect

_WORDS = {
    "activation": "the name of a function that is applied to the result, such as 'relu'",
    "alpha": "the slope, or the limit, for negative numbers",
    "alpha_initializer": "how the learned slopes begin; 0.25 by default",
    "axes": "axes along which one decision is shared",
    "axis": "the axis of the channels, or of what is normalized or compared",
    "base_cell": "the cell that is changed, not to be called by itself any more",
    "batch_axis": "the axis of the samples: the others are averaged over",
    "beta": "a factor within the sigmoid",
    "beta_initializer": "how what is added begins",
    "bias_initializer": "how the bias begins",
    "bidirectional": "whether layers go over the steps in both directions",
    "ceil_mode": "whether a last window that is not full counts",
    "center": "whether beta is learned and added",
    "channels": "how many channels come out",
    "compute_full": "whether Stirling's term for the label is added",
    "conv_layout": "the order of the axes: channels second or last; None: second",
    "count_include_pad": "whether padding counts in a mean",
    "dilation": "the distance of what a window reads, along each axis",
    "drop_inputs": "the probability with which a number of the inputs is zeroed, at all steps",
    "drop_outputs": "the probability with which a number of the outputs is zeroed, at all steps",
    "drop_states": "the probability with which a number of the first state is zeroed, at all steps",
    "dropout": "in training, the probability with which a number between two layers is zeroed",
    "dtype": "the element type of the parameters",
    "epsilon": "what is added to a variance",
    "factor": "how many places become of one, along each axis",
    "flatten": "whether all axes but the first are one",
    "from_logits": "whether predictions are logarithms of probabilities already",
    "from_sigmoid": "whether predictions are probabilities already",
    "function": "a function, or the name of an operator",
    "gamma_initializer": "how the factors begin",
    "groups": "how many groups of channels are convolved apart",
    "h2h_bias_initializer": "how the bias of the states begins",
    "h2h_dilate": "the distance of what a window on the states reads, along each axis",
    "h2h_kernel": "the extents of the window on the states, odd; one number stands for all axes",
    "h2h_weight_initializer": "how the weight of the states begins; None: as `initialize` says",
    "h2r_weight_initializer": "how the projection begins; None: as `initialize` says",
    "hidden_channels": "how many channels come out",
    "hidden_size": "how many numbers a state has, per sample",
    "i2h_bias_initializer": "how the bias of the inputs begins",
    "i2h_dilate": "the distance of what a window on the inputs reads, along each axis",
    "i2h_kernel": "the extents of the window on the inputs; one number stands for all axes",
    "i2h_pad": "what is added on both sides of the inputs, along each axis",
    "i2h_weight_initializer": "how the weight of the inputs begins; None: as `initialize` says",
    "in_channels": "how many channels come in; 0: the first call tells",
    "in_units": "how many numbers come in, per sample; 0: the first call tells",
    "input_dim": "how many rows the table has",
    "input_shape": "the shape of a sample at one step",
    "input_size": "how many numbers come in, per sample and step; 0: the first call tells",
    "inputs": "the variables of the symbol that are given at each call",
    "kernel_size": "the extents of the window; one number stands for all axes",
    "l_cell": "the cell that goes from the first step to the last",
    "label_format": "'signed' (-1 and 1) or 'binary' (0 and 1)",
    "label_layout": "the order of the axes of labels: 'NT' or 'TN'",
    "layout": "the order of the axes: channels second or last; of sequences 'TNC' or 'NTC'",
    "margin": "the distance from which on nothing is lost",
    "momentum": "how much of the running statistics a training step keeps",
    "num_devices": "over how many devices statistics are taken: 1; None: 1",
    "num_groups": "how many groups of channels are normalized apart",
    "num_layers": "how many layers there are, each on the results of the one before",
    "output_dim": "how many numbers a row has",
    "output_padding": "what is added to one side of the result, along each axis",
    "output_prefix": "accepted for old programs",
    "outputs": "the symbol, or a list of them",
    "padding": "what is added on both sides of the data, along each axis",
    "params": "another block's `params`, to share its parameters",
    "pool_size": "the extents of the window; one number stands for all axes",
    "prefix": "what the names of its parameters begin with",
    "projection_size": "to how many numbers results are projected; None: they are not",
    "r_cell": "the cell that goes from the last step to the first",
    "rate": "the probability with which an element is zeroed",
    "recurrent_activation": "the name of the function of the gates",
    "rho": "the distance from which on the loss is linear",
    "running_mean_initializer": "how the running mean begins",
    "running_variance_initializer": "how the running variance begins",
    "scale": "whether gamma is learned and multiplied",
    "smoothing_parameter": "the probability that the others have together",
    "sparse_grad": "whether the gradient is row-sparse: the rows alone that were used",
    "sparse_label": "whether labels are numbers of classes, and not distributions",
    "state_clip_max": "the upper limit of cells; None, as the lower one: there is none",
    "state_clip_min": "the lower limit of cells; None, as the upper one: there is none",
    "state_clip_nan": "whether a cell that is no number becomes the lower limit",
    "strides": "the steps of the window, along each axis; None: its extents",
    "units": "how many numbers come out, per sample",
    "use_bias": "whether a bias is learned and added",
    "use_global_stats": "whether running statistics are used in training, too",
    "use_sequence_length": "whether lengths are given at each call, after the states",
    "weight": "a factor on the loss",
    "weight_initializer": "how the weight begins; None: as `initialize` says",
    "zoneout_outputs": "the probability with which a number of the output stays as it was",
    "zoneout_states": "the probability with which a number of a state stays as it was",
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

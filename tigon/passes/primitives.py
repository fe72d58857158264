"""The operators that rules of passes speak of, found by their canonical names."""

from __future__ import annotations

from tigon.ops import get

add = get("broadcast_add")
subtract = get("broadcast_sub")
multiply = get("broadcast_mul")
divide = get("broadcast_div")
power = get("broadcast_power")
equal = get("broadcast_equal")
where = get("where")
maximum = get("broadcast_maximum")
minimum = get("broadcast_minimum")
negative = get("negative")
cast = get("Cast")
identity = get("_copy")
stored = get("_stored")
kept = get("_kept")
again = get("_again")
repeated = get("_repeated")
stop_gradient = get("BlockGrad")
detach = get("_detach")

reshape = get("_reshape")
transpose = get("transpose")
broadcast = get("_broadcast")
slice_region = get("_slice")
slice_axis = get("slice_axis")
pad = get("_pad")
join = get("_join")
assign_slice = get("_assign_slice")
window = get("_window")
unwindow = get("_unwindow")
scatter_add = get("_scatter_add")
sum_to_like = get("_sum_to_like")

full = get("_full")
zeros_like = get("zeros_like")

reduce_sum = get("_reduce_sum")
reduce_prod = get("_reduce_prod")
reduce_max = get("_reduce_max")
reduce_min = get("_reduce_min")
reduce_argmax = get("_reduce_argmax")
reduce_argmin = get("_reduce_argmin")

contract = get("_contract")

"""File formats: graphs as MXNet's -symbol.json, arrays as .params and safetensors.

They know graphs and bytes only; `nd`, `sym` and Gluon call them. Nothing here is ever executed
from a file, and every size is checked against the file before memory is asked for."""

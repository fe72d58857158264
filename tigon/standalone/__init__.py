"""Programs that leave Python: shared libraries that need nothing installed.

`library.export` writes `model.so` and what says how to call it. In it are code of the kernels for
one or several levels of the processor, what the memory plan is made of, weights, and a small
runtime (`csrc/standalone/runtime.c`)."""

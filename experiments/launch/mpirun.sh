#!/bin/bash
# Trains under Open MPI: one process a slot of the host file.
#
#   experiments/launch/mpirun.sh hosts.txt --config=demo --workdir=/shared/run
#
# hosts.txt has a line a host, such as: node0 slots=8
set -euo pipefail

if [ $# -lt 2 ]; then
  echo "got $# arguments; expected a host file, then flags of vidmodels train" >&2
  exit 2
fi
hosts=$1
shift
# Processes are not bound to single cores: each decodes video in many threads.
exec mpirun --hostfile "$hosts" --bind-to none --tag-output \
  -x PATH -x XLA_FLAGS -x JAX_PLATFORMS \
  "${VIDMODELS:-vidmodels}" train --distributed "$@"

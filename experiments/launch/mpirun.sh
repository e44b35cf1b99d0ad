#!/bin/bash
# Trains under Open MPI: one process a slot of the host file.
#
#   experiments/launch/mpirun.sh hosts.txt --config=demo --workdir=/shared/run
#
# To fill in: hosts.txt has a line a host, such as: node0 slots=8. The workdir is
# on a disk that all hosts share. VIDMODELS names the program, if it is not on
# PATH there.
#
# After a process or a host has died all start again from the last checkpoint, at
# most RESTARTS times (20). SIGTERM and Ctrl-C save and end the run with code 42.
set -uo pipefail

if [ $# -lt 2 ]; then
  echo "got $# arguments; expected a host file, then flags of vidmodels train" >&2
  exit 2
fi
hosts=$1
shift
RESTARTS=${RESTARTS:-20}
WAIT_S=${WAIT_S:-10}

stopped=
pid=
# mpirun hands SIGUSR1 on, which saves; after SIGTERM it kills within a second.
save() {
  stopped=1
  [ -z "$pid" ] || kill -USR1 "$pid" 2>/dev/null
}
trap save TERM INT USR1

for ((start = 0; start <= RESTARTS; start++)); do
  # Processes are not bound to single cores: each decodes video in many threads.
  # In a session of its own, so that Ctrl-C comes from here alone.
  setsid mpirun --hostfile "$hosts" --bind-to none --tag-output \
    -x PATH -x XLA_FLAGS -x JAX_PLATFORMS \
    "${VIDMODELS:-vidmodels}" train --distributed "$@" &
  pid=$!
  [ -z "$stopped" ] || save
  # A signal ends `wait`, not the process.
  while wait "$pid"; code=$?; kill -0 "$pid" 2>/dev/null; do :; done
  pid=
  case $code in
    0 | 2 | 42 | 130) exit "$code" ;; # done, wrong input, saved, stopped
  esac
  [ -z "$stopped" ] || exit "$code"
  [ "$start" -lt "$RESTARTS" ] || break
  echo "ended with code $code: started again in $WAIT_S s, from the last" \
    "checkpoint ($((start + 1)) of $RESTARTS)" >&2
  sleep "$WAIT_S"
  [ -z "$stopped" ] || exit 42
done
echo "gave up after $RESTARTS restarts" >&2
exit "$code"

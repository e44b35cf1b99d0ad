#!/bin/bash
# Trains on a TPU slice: makes the machines, runs on every worker, deletes them.
#
#   NAME=k400 ZONE=us-central2-b TYPE=v4-32 experiments/launch/tpu_vm.sh \
#     --config=timesformer:base --workdir=gs://bucket/runs/k400
#
# Spot machines may be taken away at any time: they are made again, and the run
# goes on from its last checkpoint. So the workdir has to be in a bucket.
set -uo pipefail

: "${NAME:?expected a name for the machines, such as NAME=k400}"
: "${ZONE:?expected a zone, such as ZONE=us-central2-b}"
: "${TYPE:?expected an accelerator type, such as TYPE=v4-32}"
VERSION=${VERSION:-tpu-ubuntu2204-base}
RESTARTS=${RESTARTS:-20}
WAIT_S=${WAIT_S:-60}
if [ $# -eq 0 ]; then
  echo "got no flags of vidmodels train; expected --config and --workdir" >&2
  exit 2
fi

tpu() { gcloud compute tpus tpu-vm "$1" "$NAME" --zone="$ZONE" "${@:2}"; }
everywhere() { tpu ssh --worker=all --command="$1"; }
delete() { tpu delete --quiet; }

command="vidmodels train --distributed $(printf '%q ' "$@")"
for ((start = 0; start <= RESTARTS; start++)); do
  tpu create --accelerator-type="$TYPE" --version="$VERSION" --spot &&
    tpu scp --worker=all --recurse . :vidmodels &&
    everywhere "pip install --quiet './vidmodels[gcs]' 'jax[tpu]'" &&
    everywhere "PATH=\$HOME/.local/bin:\$PATH $command"
  code=$?
  delete
  case $code in
    0 | 2 | 130) exit "$code" ;; # done, wrong input, stopped: not again
  esac
  echo "ended with code $code: made again in $WAIT_S s ($start of $RESTARTS)" >&2
  sleep "$WAIT_S"
done
exit "$code"

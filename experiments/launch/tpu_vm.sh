#!/bin/bash
# Trains on a TPU slice: makes the machines, runs on every worker, deletes them.
#
#   NAME=k400 ZONE=us-central2-b TYPE=v4-32 experiments/launch/tpu_vm.sh \
#     --config=timesformer:base --workdir=gs://bucket/runs/k400 \
#     --config.data.dir=gs://bucket/records/k400
#
# To fill in: a new NAME, a ZONE and a TYPE of which the project has quota, and a
# bucket that the machines' service account may write. VERSION is the runtime of
# the TYPE (gcloud compute tpus tpu-vm versions list). Start it from the top of
# the repository: that is what is installed.
#
# Spot machines may be taken away at any time: they are made again, and the run
# goes on from its last checkpoint, at most RESTARTS times (20). So the workdir
# has to be in a bucket. Ctrl-C and SIGTERM delete the machines as well.
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
everywhere() { tpu ssh --quiet --worker=all --command="$1"; }
made= # whether there are machines of ours; another run's are left alone
work= # the process that is at work with them
delete() {
  [ -z "$work" ] || kill "$work" 2>/dev/null
  work=
  [ -z "$made" ] || tpu delete --quiet
  made=
}
package=$(mktemp --suffix=.tar.gz)
trap 'delete; rm -f "$package"' EXIT
trap 'exit 130' INT TERM
tar -czf "$package" setup.py pyproject.toml README.md vidmodels configs || exit 2

copy() {
  gcloud compute tpus tpu-vm scp "$package" "$NAME:vidmodels.tar.gz" \
    --quiet --zone="$ZONE" --worker=all
}
# The runtime's Python is older than what vidmodels needs: uv brings one.
install="mkdir -p vidmodels && tar -xzf vidmodels.tar.gz -C vidmodels && \
pip install --quiet --user uv && PATH=\$HOME/.local/bin:\$PATH && \
uv venv --quiet --python 3.12 run && \
uv pip install --quiet --python run './vidmodels[gcs]' 'jax[tpu]'"
train="run/bin/vidmodels train --distributed $(printf '%q ' "$@")"

code=1
for ((start = 0; start <= RESTARTS; start++)); do
  tpu create --accelerator-type="$TYPE" --version="$VERSION" --spot
  code=$?
  if [ "$code" -eq 0 ]; then
    made=1
    # In the background: a signal ends `wait` at once.
    { copy && everywhere "$install" && everywhere "$train"; } &
    work=$!
    wait "$work"
    code=$?
    work=
  fi
  delete
  case $code in
    0 | 2 | 130) exit "$code" ;; # done, wrong input, stopped: not again
  esac
  [ "$start" -lt "$RESTARTS" ] || break
  echo "ended with code $code: made again in $WAIT_S s ($((start + 1)) of" \
    "$RESTARTS)" >&2
  sleep "$WAIT_S"
done
echo "gave up after $RESTARTS restarts" >&2
exit "$code"

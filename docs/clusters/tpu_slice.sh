#!/bin/bash
# The same command on every host of a TPU slice, started at once: the runtime of a slice waits for
# all of its hosts. Each trains its part on the chips of its own host, whose name ends in -w-NUMBER.
NAME=$1 ZONE=$2 HOSTS=$3
gcloud compute tpus tpu-vm ssh "$NAME" --zone "$ZONE" --worker=all --command \
  "cldyn sweep width.toml --store /shared/width.zarr --shard \$((\${HOSTNAME##*-w-} + 1))/$HOSTS"

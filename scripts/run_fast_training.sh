#!/bin/sh
# A first good answer: a short search, all folds, evaluation and submission.
# Usage: scripts/run_fast_training.sh data.train_csv=train.csv [KEY=VALUE or options of train]
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=scripts/find_sightline.sh
. "$here/find_sightline.sh"
exec "$sightline" train classify/fast --mode full-pipeline \
    --optimize --n-trials 8 --optuna-config classify/optuna-fast --auto-continue "$@"

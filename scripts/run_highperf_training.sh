#!/bin/sh
# The best answer: a search over 20 trials, all folds, calibration, evaluation and submission.
# Usage: scripts/run_highperf_training.sh data.train_csv=train.csv [KEY=VALUE or options of train]
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=scripts/find_sightline.sh
. "$here/find_sightline.sh"
exec "$sightline" train classify/highperf --mode full-pipeline \
    --optimize --n-trials 20 --optuna-config classify/optuna \
    --use-calibration --auto-continue "$@"

#!/bin/sh
# Points inference files at a run.
# Usage: scripts/update_inference_date.sh --latest-train|--latest|YYYYMMDD|RUN FILE... [--dry-run]
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
# shellcheck source=scripts/find_sightline.sh
. "$here/find_sightline.sh"
exec "$sightline" infer-config "$@"

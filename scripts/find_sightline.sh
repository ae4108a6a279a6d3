# shellcheck shell=sh disable=SC2034,SC2154
# Sets `sightline` to the command: the one in PATH, else that of the checkout's .venv. Sourced by the
# other scripts, which set `here` to their own folder first.
if command -v sightline >/dev/null 2>&1; then
    sightline=sightline
elif [ -x "$here/../.venv/bin/sightline" ]; then
    sightline="$here/../.venv/bin/sightline"
else
    echo "sightline is neither in PATH nor in $here/../.venv/bin" >&2
    echo "install it, or activate the environment that has it" >&2
    exit 1
fi

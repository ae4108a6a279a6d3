#!/bin/sh
# Shows what the newest log says as it grows, and goes over to every newer one; Ctrl-C ends it.
# A run that began before midnight goes on in its own day's folder, so every folder is looked at.
# Usage: scripts/monitor_training.sh [LOGS_DIR]      (default: logs)
set -eu
logs=${1:-logs}
pause=${MONITOR_SECONDS:-2}
first_lines=20
positions='' # lines of: bytes shown, tab, file
current=''

newest() {
    find "$logs" -type f -name '*.log' -mtime -1 -exec ls -t {} + 2>/dev/null | head -n 1
}

position_of() {
    printf '%s' "$positions" | FILE=$1 awk -F '\t' '$2 == ENVIRON["FILE"] { n = $1 } END { print n + 0 }'
}

size_of() {
    wc -c <"$1" | tr -d ' '
}

echo "watching $logs"
while :; do
    file=$(newest)
    if [ -n "$file" ]; then
        size=$(size_of "$file")
        from=$(position_of "$file")
        if [ "$file" != "$current" ]; then
            echo "==> $file <=="
            if [ -z "$current" ]; then
                from=$(tail -n "$first_lines" "$file" | wc -c)
                from=$((size > from ? size - from : 0))
            fi
            current=$file
        fi
        if [ "$size" -gt "$from" ]; then
            tail -c +$((from + 1)) "$file" | head -c $((size - from))
            others=$(printf '%s' "$positions" | FILE=$file awk -F '\t' '$2 != ENVIRON["FILE"]')
            positions=$(printf '%s\n%s\t%s' "$others" "$size" "$file")
        fi
    fi
    sleep "$pause"
done

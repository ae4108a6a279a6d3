"""Memory of a process that holds a manifest of a million rows, read from a CSV file."""

from __future__ import annotations

import sys

from interleave import WORK, Contestant, interleave, script
from record import Row, save

ROWS = 1_000_000


def main() -> None:
    """Read the table in a process of its own and save what it needed."""
    table = WORK / f"manifest-{ROWS}.csv"
    if not table.exists():
        table.parent.mkdir(parents=True, exist_ok=True)
        part = table.with_suffix(".part")
        with part.open("w", encoding="utf-8") as file:
            file.write("ID,target,group,camera\n")
            for row in range(ROWS):
                name = f"class_{row % 1000:03d}/IMG_{row:08d}.jpg"
                file.write(f"{name},label_{row % 1000:03d},object_{row // 20:06d},cam{row % 6}\n")
        part.rename(table)
    command = [sys.executable, script("manifest_memory.py"), str(table)]
    results = interleave([Contestant("manifest", command)], rounds=3)
    found = results["manifest"]
    rows = [
        Row("memory of the process with 1 million rows", found["median"], "MiB", 400.0),
        Row("of it before the table is read", found["last"]["before_MiB"], "MiB"),
        Row("highest while reading", found["last"]["peak_MiB"], "MiB"),
        Row("time to read", found["last"]["seconds"], "s"),
    ]
    save("manifest", rows, results)
    for row in rows:
        print(f"{row.what}: {row.value:.4g} {row.unit}")


if __name__ == "__main__":
    main()

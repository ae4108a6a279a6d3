"""Reports: figures from plain data, and one page that shows what a run was and what it found."""

"""The smallest form of vectors that keeps their neighbours: forms, their fit, judgement, search."""

"""A sweep: planned, paid for, run and kept."""

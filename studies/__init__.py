"""This project's own experiments: the demo's summary, and the tables in docs/ that studies write."""

"""Leaderboards: the strongest known attack on each model, from result files, and attacks of others, scored here."""

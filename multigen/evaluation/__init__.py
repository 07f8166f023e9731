"""Evaluation: metrics, distances between sets of features, memorisation, speed, and the report page."""

"""Serving on Ray Serve: one app in front, and each model in replicas of its own."""

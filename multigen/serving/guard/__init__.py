"""The guard: who may ask, from where, how much and how often. Everything here runs before a route does."""

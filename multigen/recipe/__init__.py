"""Recipes: their schema, reading and composing YAML files, checks, manifests of what was made."""

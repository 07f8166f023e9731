"""Serving: a process that makes media for many users at once, over HTTP.

engine   one task a model: who is next, what shares a network call, what fits into memory, where results are kept
api      what clients send and receive
"""

"""Measures of the inside: linear probes and their control, slice transfer, structure, similarity.

Every module here is imported when measures and conditions are first asked for, and registers what
it holds: a new one is a new file, no more.
"""

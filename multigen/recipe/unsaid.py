"""Fields of a recipe that came later: they are not written where they are empty.

So recipes of before, and their hashes, stay as they were.
"""

UNSAID_EMPTY = "unsaid_empty"  # key of a field's metadata

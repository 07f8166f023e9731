"""Why a medium came out as it did: what each word of its prompt does, and at which noise levels what is decided."""

"""The engine: requests of many users on one model, through one batcher."""

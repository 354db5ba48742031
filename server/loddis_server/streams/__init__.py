"""Streams: frames that belong together, in their order, with what is remembered from one to the next."""

"""A run as one self-contained page; ``page``, ``markup`` and ``chart`` serve other verbs' pages too."""

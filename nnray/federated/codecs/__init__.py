"""Codecs: what an update becomes on a thin link. One function each, named in ``nnray.catalog``."""

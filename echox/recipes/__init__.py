"""The training stages as fairseq2 recipes."""

from echox.native import load_libsndfile

load_libsndfile()  # before a module of this package imports fairseq2, which looks for it in the system otherwise

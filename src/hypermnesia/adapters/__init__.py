"""Doors to other libraries, one file for each: scikit-learn, Lightning, Avalanche."""

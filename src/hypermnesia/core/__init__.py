"""Errors, checks, tensors, trees, random generators, optimizers, files and formats: what every other room stands on."""

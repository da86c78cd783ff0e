"""What runs the trials of a search: processes here, Ray, SLURM."""

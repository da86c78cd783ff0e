"""How far what a generator writes has moved."""

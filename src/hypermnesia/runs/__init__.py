"""Run directories: made, executed, recorded, read back, continued, exported."""

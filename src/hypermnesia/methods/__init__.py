"""What learns, and what holds what was learned: methods, penalties, replay."""

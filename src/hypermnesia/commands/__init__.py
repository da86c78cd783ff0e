"""What a person types; nothing below prints."""

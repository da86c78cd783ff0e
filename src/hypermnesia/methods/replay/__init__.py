"""What is remembered, or dreamed, and how it is rehearsed."""

"""What holds weights near what they were."""

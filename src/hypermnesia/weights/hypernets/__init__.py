"""Networks that write weights."""

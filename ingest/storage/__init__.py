"""What a store is, and each kind of store."""

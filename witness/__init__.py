"""A witness: cosigns a checkpoint only after checking that it extends what it cosigned before."""

"""A transparency log: admits entries, grows the tree, publishes cosigned checkpoints, serves tiles and proofs."""

"""The values of transparency logs: their formats, proofs, policies and evidence. Pure: no input, output, clock or chance."""

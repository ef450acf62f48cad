"""The values of transparency logs: formats, proofs, policies and evidence. No input or output, no clock, no chance."""

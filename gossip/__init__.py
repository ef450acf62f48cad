"""How monitors compare what they were shown: a core without input or output, its messages, and a shell."""

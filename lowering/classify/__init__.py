"""How each operation's output maps to its input, and what two mapping types give when they are fused."""

"""How fast the harness is, beside common practice and beside what the machine could do."""

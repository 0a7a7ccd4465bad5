"""Speed beside a plain PyTorch loop and beside what the machine could do."""

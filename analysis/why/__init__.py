"""The side studies: for each its rule, its verdict lines and its figure."""

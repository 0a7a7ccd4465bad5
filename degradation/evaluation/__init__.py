"""Measurements of finished runs: layer responses, ten crops and scales, published weights."""

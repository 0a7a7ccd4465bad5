"""Show, measure and explain the degradation problem of deep plain networks (He et al. 2015)."""

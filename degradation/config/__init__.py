"""What a run is: its settings, checked; its identity and name; Hydra's composition of a study."""

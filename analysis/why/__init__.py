"""Why networks degrade: a module a side study, with its rule, its findings and its figure."""

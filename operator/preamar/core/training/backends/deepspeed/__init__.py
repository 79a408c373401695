"""DeepSpeed: its rules, formulas, configuration and programs."""

"""PEFT's own tests, run on our methods as PEFT's types; see ``suite``."""

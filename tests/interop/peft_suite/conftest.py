"""What is copied beside PEFT's tests cannot be imported here."""

collect_ignore = ["cases.py", "selected.py"]

"""The names of the files in a run directory."""

RUN = "run.yaml"
ENVIRONMENT = "environment.json"
SCORES = "scores.parquet"
EXAMPLES = "examples.parquet"
TOKENS = "tokens.parquet"
EVENTS = "events.jsonl"
COMPLETE = "COMPLETE"

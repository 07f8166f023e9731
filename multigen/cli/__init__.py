"""The command `multigen`: one file a command, which parses its arguments, calls `multigen.runs` and prints."""
